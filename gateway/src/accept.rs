//! Accepts clients, as many as there may be.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use imago_container::Slot;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{Instrument, field};

use crate::{
    codec::Transport,
    connection::{Connection, NO_ROOM},
    metrics::{self, OpenConnection},
    role::{Doors, LOGIN_GRACE, Shared},
    upgrade,
};

/// Shortest and longest pause after an error of `accept`, such as a lack of file descriptors.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts until the gateway leaves, and then closes the listener. Overflow policy: a client over the
/// limit takes the place of one that has not logged in; where all have, it waits, and further ones wait
/// unaccepted in the backlog.
pub(crate) async fn run(
    listener: TcpListener,
    transport: Transport,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
) {
    let mut doors = shared.doors.subscribe();
    let mut pause = PAUSE_MIN;
    loop {
        if *doors.borrow_and_update() == Doors::Young {
            // The sender lives in `shared`.
            let _ = doors.changed().await;
            continue;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = left(&mut doors) => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept a client");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
        };
        pause = PAUSE_MIN;
        if *doors.borrow() == Doors::Fenced {
            continue;
        }
        let place = tokio::select! {
            place = place(&shared, &permits, remote) => place,
            () = left(&mut doors) => return,
        };
        let client = serve(stream, remote, transport, shared.clone(), place);
        let span =
            tracing::info_span!("client", %remote, channel = field::Empty, account = field::Empty);
        shared.tasks.spawn(client.instrument(span));
    }
}

/// What a connection holds: a place among all, and one among those who have not logged in.
struct Place {
    /// None only for a closed semaphore, and this one stays open.
    permit: Option<OwnedSemaphorePermit>,
    slot: Slot,
}

/// Finds a place for a connection, if need be that of another one.
async fn place(shared: &Shared, permits: &Arc<Semaphore>, remote: SocketAddr) -> Place {
    let mut permit = pin!(permits.clone().acquire_owned());
    let permit = loop {
        match timeout(LOGIN_GRACE, permit.as_mut()).await {
            Ok(permit) => break permit.ok(),
            // All that are here have had this time.
            Err(_) => shared.strangers.evict(),
        };
    };
    Place { permit, slot: shared.strangers.enter(remote.ip()).await }
}

/// Resolves when the gateway leaves.
async fn left(doors: &mut watch::Receiver<Doors>) {
    // The sender lives as long as the listener's task.
    let _ = doors.wait_for(|doors| *doors == Doors::Leaving).await;
}

/// One client, from its first byte to its last.
async fn serve(
    mut stream: TcpStream,
    remote: SocketAddr,
    transport: Transport,
    shared: Arc<Shared>,
    Place { permit, slot }: Place,
) {
    let _permit = permit;
    let _open = OpenConnection::new();
    let stop = shared.stop.clone();
    let connected = async {
        let login_by = Instant::now() + shared.limits.login_timeout;
        // Both are boxed: what the first needs is given back when it is done, and the second is most
        // of what a quiet client costs.
        let prepared =
            Box::pin(prepare(&mut stream, remote, transport, login_by, &slot, &shared)).await;
        if let Some(received) = prepared {
            let connection =
                Connection::new(stream, transport, received, remote, login_by, shared.clone());
            Box::pin(connection.in_slot(slot).run()).await;
        }
    };
    stop.run_until_cancelled_owned(connected).await;
}

/// Whether the client may go on, and its transport is ready; gives back what it sent too early.
async fn prepare(
    stream: &mut TcpStream,
    remote: SocketAddr,
    transport: Transport,
    login_by: Instant,
    slot: &Slot,
    shared: &Shared,
) -> Option<BytesMut> {
    let prepared = async {
        shared.acceptor.accept(remote).await?;
        // Without it a small answer waits for the next one (Nagle's algorithm).
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match transport {
            Transport::Tcp => Ok(BytesMut::new()),
            Transport::WebSocket => upgrade::upgrade(stream).await,
        }
    };
    let prepared = tokio::select! {
        prepared = timeout_at(login_by, prepared) => prepared,
        () = shared.leaving.cancelled() => return None,
        () = slot.evicted() => {
            metrics::unauthenticated_evicted();
            if transport == Transport::WebSocket {
                upgrade::turn_away(stream, NO_ROOM).await;
            }
            return None;
        }
    };
    match prepared {
        Ok(Ok(received)) => Some(received),
        Ok(Err(reason)) => {
            tracing::debug!(reason, "connection not accepted");
            None
        }
        Err(_) => {
            tracing::debug!("transport not ready in time");
            if transport == Transport::WebSocket {
                upgrade::too_late(stream).await;
            }
            None
        }
    }
}
