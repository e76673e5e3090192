//! A proxy between gateways and one logic server that can block single gateways.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::BytesMut;
use imago_proto::{Limits, LinkDecoder, link::frame::Kind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Passes links through, but for those of blocked gateways. Ends when dropped.
pub struct LinkProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Shared {
    target: Mutex<Option<String>>,
    blocked: Mutex<HashSet<String>>,
    /// Cancelled to cut what is passing through.
    cut: Mutex<CancellationToken>,
}

impl LinkProxy {
    /// Starts a proxy that leads nowhere yet.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, shared.clone(), stop.clone()));
        Self { address, shared, _stop: stop.drop_guard() }
    }

    /// Port to register in place of the server's own.
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Leads to this address from now on.
    pub fn lead_to(&self, target: String) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// Blocks links of a gateway from now on.
    pub fn block(&self, gateway: &str) {
        let mut blocked = self.shared.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.insert(gateway.to_owned());
    }

    /// Lets links of a gateway through again.
    pub fn unblock(&self, gateway: &str) {
        self.shared.blocked.lock().unwrap_or_else(PoisonError::into_inner).remove(gateway);
    }

    /// Cuts every link that passes through; new ones may come.
    pub fn cut(&self) {
        let mut cut = self.shared.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.cancel();
        *cut = CancellationToken::new();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let (shared, stop) = (shared.clone(), stop.clone());
                tokio::spawn(async move {
                    let cut = shared.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    tokio::select! {
                        () = pass(stream, &shared) => {}
                        () = cut.cancelled() => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Reads who dials before it decides.
async fn pass(mut stream: TcpStream, shared: &Shared) {
    let mut received = BytesMut::new();
    let hello = loop {
        if !matches!(stream.read_buf(&mut received).await, Ok(1..)) {
            return;
        }
        let mut decoder = LinkDecoder::new(Limits::default());
        match decoder.decode(&mut received.clone()) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(_) => return,
        }
    };
    let Kind::Hello(hello) = hello.kind else { return };
    let is_blocked = {
        let blocked = shared.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.contains(&hello.service_id)
    };
    let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (false, Some(target)) = (is_blocked, target) else { return };
    let Ok(mut onward) = TcpStream::connect(target).await else { return };
    if onward.write_all(&received).await.is_ok() {
        // Either side may end it.
        let _ = copy_bidirectional(&mut stream, &mut onward).await;
    }
}
