//! Accepts clients of any transport, up to the limits on connections.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures::{FutureExt, future::BoxFuture};
use imago_container::{Slot, Slots};
use imago_kit::Backoff;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{Instrument, field};

use crate::{
    config::LOGIN_GRACE,
    connection::{Connection, NO_ROOM, Prepared},
    context::ConnectionContext,
    lifecycle::Doors,
    limit::Acceptor,
    metrics::{self, OpenConnection},
    transport::{Address, Framing, Transport},
    upgrade::{self, Upgraded},
};

/// Longest pause after a first error of `accept`, such as a lack of file descriptors, and after many.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What the listeners of a gateway share.
pub(crate) struct Entrance {
    pub(crate) acceptor: Arc<dyn Acceptor>,
    /// Bounds all connections.
    pub(crate) permits: Arc<Semaphore>,
    /// Bounds connections that have not logged in.
    pub(crate) unauthenticated: Arc<Slots>,
    pub(crate) context: Arc<ConnectionContext>,
}

/// A transport of any type.
pub(crate) trait Listener: Send {
    fn label(&self) -> String;
    fn bound_to(&self) -> Address;
    /// Accepts until the gateway leaves, and then closes the listener.
    fn run(self: Box<Self>, entrance: Arc<Entrance>) -> BoxFuture<'static, ()>;
}

impl<T: Transport> Listener for T {
    fn label(&self) -> String {
        self.name().to_owned()
    }

    fn bound_to(&self) -> Address {
        self.local_address()
    }

    fn run(self: Box<Self>, entrance: Arc<Entrance>) -> BoxFuture<'static, ()> {
        run(*self, entrance).boxed()
    }
}

/// Accepts until the gateway leaves, and then closes the listener. Overflow policy: a client over the
/// limit takes the place of one that has not logged in; where all have, it waits, and further ones wait
/// unaccepted in the listener's queue.
async fn run<T: Transport>(mut transport: T, entrance: Arc<Entrance>) {
    let life = entrance.context.life.clone();
    let mut doors = life.doors.subscribe();
    let framing = transport.framing();
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    loop {
        if *doors.borrow_and_update() == Doors::Young {
            // The sender lives in `life`.
            let _ = doors.changed().await;
            continue;
        }
        let accepted = tokio::select! {
            accepted = transport.accept() => accepted,
            () = left(&mut doors) => return,
        };
        let (accepted, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let pause = backoff.next_delay();
                tracing::warn!(%error, ?pause, listener = transport.name(), "cannot accept a client");
                sleep(pause).await;
                continue;
            }
        };
        backoff.reset();
        if *doors.borrow() == Doors::Fenced {
            continue;
        }
        let admission = tokio::select! {
            admission = admit(&entrance, &remote) => admission,
            () = left(&mut doors) => return,
        };
        let span =
            tracing::info_span!("client", %remote, channel = field::Empty, account = field::Empty);
        let client = serve::<T>(accepted, remote, framing, entrance.clone(), admission);
        life.tasks.spawn(client.instrument(span));
    }
}

/// The room that a connection takes: among all, and among those that have not logged in.
struct Admission {
    /// None only for a closed semaphore, and this one stays open.
    permit: Option<OwnedSemaphorePermit>,
    slot: Slot,
}

/// Finds room for a connection, if need be that of another one.
async fn admit(entrance: &Entrance, remote: &Address) -> Admission {
    let mut permit = pin!(entrance.permits.clone().acquire_owned());
    let permit = loop {
        match timeout(LOGIN_GRACE, permit.as_mut()).await {
            Ok(permit) => break permit.ok(),
            // All connections have had this time.
            Err(_) => entrance.unauthenticated.evict(),
        };
    };
    Admission { permit, slot: entrance.unauthenticated.enter(remote.ip()).await }
}

/// Resolves when the gateway leaves.
async fn left(doors: &mut watch::Receiver<Doors>) {
    // The sender lives as long as the listener's task.
    let _ = doors.wait_for(|doors| *doors == Doors::Leaving).await;
}

/// One client, from its first byte to its last.
async fn serve<T: Transport>(
    accepted: T::Accepted,
    remote: Address,
    framing: Framing,
    entrance: Arc<Entrance>,
    Admission { permit, slot }: Admission,
) {
    let _permit = permit;
    let _open = OpenConnection::new();
    let stop = entrance.context.life.stop.clone();
    let connected = async move {
        let context = entrance.context.clone();
        let login_by = Instant::now() + context.limits.login_timeout;
        // Both are boxed: what the first needs is given back when it is done, and the second is most
        // of what a quiet client costs.
        let start = Start { remote: &remote, framing, login_by, slot: &slot, entrance: &entrance };
        let prepared = Box::pin(start.prepare::<T>(accepted)).await;
        drop(entrance);
        if let Some(prepared) = prepared {
            let connection =
                Connection::<T>::new(prepared, framing, remote, slot, login_by, context);
            Box::pin(connection.run()).await;
        }
    };
    stop.run_until_cancelled_owned(connected).await;
}

/// The start of a connection, up to its first frame.
struct Start<'a> {
    remote: &'a Address,
    framing: Framing,
    login_by: Instant,
    slot: &'a Slot,
    entrance: &'a Entrance,
}

/// Why a start has to end before it is done.
enum Cut {
    Late,
    Leaving,
    Evicted,
}

// === impl Start ===

impl Start<'_> {
    /// Returns the connection when it is ready for frames, and `None` when it has ended before.
    async fn prepare<T: Transport>(&self, accepted: T::Accepted) -> Option<Prepared<T::Stream>> {
        let shaken = self.in_time(async {
            self.entrance.acceptor.accept(self.remote).await?;
            T::handshake(accepted).await.map_err(|error| format!("handshake: {error}"))
        });
        let (mut stream, tls) = shaken.await.ok()??;
        if self.framing == Framing::LengthPrefixed {
            return Some(Prepared { stream, received: BytesMut::new(), upgrade: None, tls });
        }
        match self.in_time(upgrade::upgrade(&mut stream)).await {
            Ok(upgraded) => {
                let Upgraded { request, received } = upgraded?;
                Some(Prepared { stream, received, upgrade: Some(request), tls })
            }
            Err(Cut::Late) => {
                upgrade::too_late(&mut stream).await;
                None
            }
            Err(Cut::Evicted) => {
                upgrade::turn_away(&mut stream, NO_ROOM).await;
                None
            }
            Err(Cut::Leaving) => None,
        }
    }

    /// Takes a step, unless the connection has to end before; `None` where the step fails.
    async fn in_time<R>(
        &self,
        step: impl Future<Output = Result<R, String>>,
    ) -> Result<Option<R>, Cut> {
        let taken = tokio::select! {
            taken = timeout_at(self.login_by, step) => taken,
            () = self.entrance.context.life.leaving.cancelled() => return Err(Cut::Leaving),
            () = self.slot.evicted() => {
                metrics::unauthenticated_evicted();
                return Err(Cut::Evicted);
            }
        };
        let Ok(taken) = taken else {
            tracing::debug!("transport not ready in time");
            return Err(Cut::Late);
        };
        Ok(taken.inspect_err(|reason| tracing::debug!(reason, "connection not accepted")).ok())
    }
}
