//! A TCP proxy whose two directions are cut, delayed and healed at runtime.

mod pipe;
mod rules;

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use imago_proto::{Limits, LinkDecoder, link::frame::Kind};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::rules::{Breaks, Rules};

pub use self::rules::{Pass, Way};

/// Time in which a dialer has to say its name.
const HELLO: Duration = Duration::from_secs(60);

/// Passes connections on to one server, and treats each direction as it is told. Ends when dropped.
///
/// What is cut stays open at both ends, as with a cable that is pulled: neither end learns of it.
pub struct FaultProxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    _stop: DropGuard,
}

#[derive(Clone, Copy)]
enum Dialers {
    /// Gateways: the first frame tells which.
    Gateways,
    Anonymous,
}

impl FaultProxy {
    /// A proxy between gateways and one logic server. It leads nowhere yet.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn of_links() -> Self {
        Self::start(Dialers::Gateways).await
    }

    /// A proxy that does not know who dials, such as one before a database. It leads nowhere yet.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn of_bytes() -> Self {
        Self::start(Dialers::Anonymous).await
    }

    async fn start(dialers: Dialers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let rules = watch::Sender::new(Rules::default());
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, dialers, rules.clone(), stop.clone()));
        Self { address, rules, _stop: stop.drop_guard() }
    }

    /// Port of the proxy, to be registered or connected to in place of the server's own.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Leads to this address from now on.
    pub fn lead_to(&self, target: String) {
        self.rules.send_modify(|rules| rules.target = Some(target));
    }

    /// Treats one direction of all connections in this way from now on.
    pub fn set(&self, way: Way, pass: Pass) {
        self.rules.send_modify(|rules| rules.set(None, way, pass));
    }

    /// Treats one direction of a gateway's connections in this way from now on.
    pub fn set_for(&self, gateway: &str, way: Way, pass: Pass) {
        self.rules.send_modify(|rules| rules.set(Some(gateway), way, pass));
    }

    /// Treats both directions of all connections in this way from now on.
    pub fn set_both(&self, pass: Pass) {
        self.set(Way::Forth, pass);
        self.set(Way::Back, pass);
    }

    /// Treats both directions of a gateway's connections in this way from now on.
    pub fn set_both_for(&self, gateway: &str, pass: Pass) {
        self.set_for(gateway, Way::Forth, pass);
        self.set_for(gateway, Way::Back, pass);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.rules.send_modify(Rules::heal);
    }

    /// Ends every connection in good order (FIN); new ones pass.
    pub fn close(&self) {
        self.rules.send_modify(|rules| rules.breaks.closed += 1);
    }

    /// Breaks every connection (RST); new ones pass.
    pub fn reset(&self) {
        self.rules.send_modify(|rules| rules.breaks.reset += 1);
    }
}

async fn accept(
    listener: TcpListener,
    dialers: Dialers,
    rules: watch::Sender<Rules>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { return };
        let (rules, stop) = (rules.subscribe(), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(pass(stream, dialers, rules)).await;
        });
    }
}

/// Carries one connection to its end.
async fn pass(mut dialer: TcpStream, dialers: Dialers, rules: watch::Receiver<Rules>) {
    let breaks = rules.borrow().breaks;
    let (name, first) = match dialers {
        Dialers::Anonymous => (String::new(), Bytes::new()),
        Dialers::Gateways => {
            let hello = tokio::time::timeout(HELLO, hello(&mut dialer));
            let Ok(Some(hello)) = hello.await else { return };
            hello
        }
    };
    let Some(target) = rules.borrow().target.clone() else { return };
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Small frames are not to wait for each other in the proxy.
    let _ = dialer.set_nodelay(true).and(server.set_nodelay(true));
    let (mut from_dialer, mut to_dialer) = dialer.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forth = |rules: &Rules| rules.of(&name, Way::Forth);
    let back = |rules: &Rules| rules.of(&name, Way::Back);
    let forth = pipe::run(&mut from_dialer, &mut to_server, first, forth, &rules);
    let back = pipe::run(&mut from_server, &mut to_dialer, Bytes::new(), back, &rules);
    let is_reset = tokio::select! {
        ended = async { tokio::try_join!(forth, back) } => ended.is_err(),
        is_reset = broken(breaks, rules.clone()) => is_reset,
    };
    if is_reset {
        for half in [&to_dialer, &to_server] {
            // Sends RST in place of FIN when it is dropped.
            let _ = half.as_ref().set_zero_linger();
        }
        to_dialer.forget();
        to_server.forget();
    }
}

/// Returns once connections that began at `since` are to end: whether by a reset.
async fn broken(since: Breaks, mut rules: watch::Receiver<Rules>) -> bool {
    let breaks = rules.wait_for(|rules| rules.breaks != since).await.map(|rules| rules.breaks);
    // Without a proxy, nothing is told any more; the connection ends with it.
    breaks.is_ok_and(|breaks| breaks.reset != since.reset)
}

/// Reads who dials; gives the bytes that were read, too.
async fn hello(dialer: &mut TcpStream) -> Option<(String, Bytes)> {
    let mut received = BytesMut::new();
    loop {
        if dialer.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
        let mut decoder = LinkDecoder::new(Limits::default());
        let frame = decoder.decode(&mut received.clone()).ok()?;
        match frame.map(|frame| frame.kind) {
            None => {}
            Some(Kind::Hello(hello)) => return Some((hello.service_id, received.freeze())),
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests;
