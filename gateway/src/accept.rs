//! Accepts clients, as many as there may be.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tracing::Instrument;

use crate::{
    connection::Connection,
    gateway::{Doors, Shared},
    metrics,
    transport::{Framing, upgrade},
};

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Tcp,
}

/// Time for a WebSocket client's upgrade request.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);
/// Longest pause after an error of `accept`, such as a lack of file descriptors.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts until the gateway leaves. Overflow policy: clients over the limit wait in the backlog.
pub(crate) async fn run(
    listener: TcpListener,
    transport: Transport,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
) {
    let mut doors = shared.doors.subscribe();
    let mut pause = Duration::from_millis(10);
    loop {
        let state = *doors.borrow_and_update();
        if state == Doors::Leaving {
            return;
        }
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept(), if state != Doors::Young => match accepted {
                Ok(_) if *doors.borrow() == Doors::Fenced => {}
                Ok((stream, remote)) => {
                    pause = Duration::from_millis(10);
                    metrics::connection_opened();
                    let span = tracing::debug_span!("client", %remote);
                    let shared = shared.clone();
                    shared.tasks.clone().spawn(
                        async move {
                            let stop = shared.stop.clone();
                            tokio::select! {
                                () = serve(stream, remote, transport, shared) => {}
                                () = stop.cancelled() => {}
                            }
                            metrics::connection_closed();
                            drop(permit);
                        }
                        .instrument(span),
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, ?pause, "cannot accept a client");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            },
            changed = doors.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    remote: SocketAddr,
    transport: Transport,
    shared: Arc<Shared>,
) {
    if let Err(reason) = shared.acceptor.accept(remote).await {
        return tracing::debug!(reason, "connection not accepted");
    }
    // Without it a small answer waits for the next one (Nagle's algorithm).
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "connection broke");
    }
    let packet_max = shared.limits.packet;
    let (framing, received) = match transport {
        Transport::Tcp => (Framing::tcp(packet_max), bytes::BytesMut::new()),
        Transport::WebSocket => match upgrade(&mut stream, packet_max, UPGRADE_PATIENCE).await {
            Ok(ready) => ready,
            Err(reason) => return tracing::debug!(reason, "no WebSocket"),
        },
    };
    Connection::new(stream, framing, received, remote, shared).run().await;
}
