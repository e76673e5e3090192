//! Asks logic servers to push again what sessions miss: some sessions at a time, until it is done.

mod debts;

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use imago_container::GatewayHandle;
use imago_proto::{SessionId, link};
use rand::RngExt;
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep_until},
};

use self::debts::{Debts, Due};
use crate::{
    ledger::{self, Missing},
    metrics,
    session::Sessions,
};

/// Sessions asked for in one frame.
const BATCH: usize = 64;
/// Bytes of what they have, beyond which no further session is asked for in the same frame. With what
/// a ledger tells of one session, that is half of the smallest `link.frame_max`.
const BATCH_BYTES: usize = 256 << 10;
/// Debts made before others have a turn, where all sessions are owed.
const AT_ONCE: usize = 1000;
/// Pause before a session is asked for again that could not be: no logic server takes requests, or
/// the session's login is not answered.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(500);

/// What is owed to the sessions of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Redelivery {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    debts: Debts,
    /// All sessions are owed, due then.
    all: Option<Instant>,
}

// === impl Redelivery ===

impl Redelivery {
    /// A panic while the lock was held leaves debts behind that are too many at worst.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.debts.len();
        change(&mut state);
        let after = state.debts.len();
        drop(state);
        if before != after {
            metrics::sessions_owed(after);
        }
        self.changed.notify_one();
    }

    /// Pushes may be missing at these sessions.
    pub(crate) fn owe(&self, sessions: &[u64]) {
        let now = Instant::now();
        self.change(|state| sessions.iter().for_each(|id| state.debts.owe(*id, now)));
    }

    /// Pushes may be missing at all sessions; they are asked for after a random part of `within`.
    pub(crate) fn owe_all(&self, within: Duration) {
        let now = Instant::now();
        let due = now + within.mul_f64(rand::rng().random());
        self.change(|state| {
            state.all = Some(state.all.map_or(due, |all| all.min(due)));
            state.debts.doubt(now);
        });
    }

    /// Pushes wait at a session for what is before them.
    pub(crate) fn hole(&self, session: u64) {
        let now = Instant::now();
        self.change(|state| state.debts.hole(session, now));
    }

    /// A session was pushed something again.
    pub(crate) fn progressed(&self, sessions: &[u64]) {
        let (now, mut state) = (Instant::now(), self.lock());
        sessions.iter().for_each(|id| state.debts.progressed(*id, now));
    }

    /// Whether a redelivery of a session is under way.
    pub(crate) fn is_asked(&self, session: u64) -> bool {
        self.lock().debts.is_asked(session)
    }

    /// The redelivery of a session is complete.
    pub(crate) fn done(&self, session: u64) {
        self.change(|state| state.debts.done(session));
    }

    /// What a session misses cannot be read now: it is asked for again after `pause`.
    pub(crate) fn unreadable(&self, session: u64, pause: Duration) {
        let due = Instant::now() + pause;
        self.change(|state| state.debts.failed(session, due));
    }

    /// A session has ended.
    pub(crate) fn ended(&self, session: u64) {
        let mut state = self.lock();
        state.debts.forget(session);
        metrics::sessions_owed(state.debts.len());
    }

    /// How many sessions are owed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().debts.len()
    }

    /// Asks for what is due, for as long as the gateway runs.
    pub(crate) async fn run(sessions: Arc<Sessions>, handle: GatewayHandle) {
        let redelivery = &sessions.delivery.redelivery;
        loop {
            redelivery.owe_all_due(&sessions).await;
            let now = Instant::now();
            let (due, next) = {
                let mut state = redelivery.lock();
                (state.debts.take_due(now, BATCH), state.debts.next())
            };
            if !due.is_empty() {
                redelivery.ask(&sessions, &handle, &due);
                yield_now().await;
                continue;
            }
            tokio::select! {
                () = redelivery.changed.notified() => {}
                () = async { sleep_until(next.unwrap_or(now)).await }, if next.is_some() => {}
            }
        }
    }

    /// Makes a debt of each session, where all are owed.
    async fn owe_all_due(&self, sessions: &Sessions) {
        let Some(due) = mem::take(&mut self.lock().all) else { return };
        for some in sessions.ids().chunks(AT_ONCE) {
            self.change(|state| some.iter().for_each(|id| state.debts.owe(*id, due)));
            yield_now().await;
        }
    }

    fn ask(&self, sessions: &Sessions, handle: &GatewayHandle, due: &[Due]) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for due in due {
            let Some(client) = sessions.get(SessionId(due.session)) else {
                self.ended(due.session);
                continue;
            };
            match client.missing(!due.is_hole) {
                Missing::Unknown => self.put_off(&[due.session]),
                Missing::Nothing => self.done(due.session),
                Missing::Since { mark, have } => {
                    bytes += have.iter().map(ledger::weight).sum::<usize>();
                    batch.push(link::Missing { session: due.session, mark, have });
                }
            }
            if bytes >= BATCH_BYTES {
                bytes = 0;
                self.send(handle, mem::take(&mut batch));
            }
        }
        self.send(handle, batch);
    }

    fn send(&self, handle: &GatewayHandle, batch: Vec<link::Missing>) {
        if batch.is_empty() {
            return;
        }
        metrics::redeliveries(batch.len());
        let sessions: Vec<u64> = batch.iter().map(|missing| missing.session).collect();
        if !handle.redeliver(batch) {
            self.put_off(&sessions);
        }
    }

    fn put_off(&self, sessions: &[u64]) {
        let due = Instant::now() + rand::rng().random_range(PAUSE);
        self.change(|state| sessions.iter().for_each(|id| state.debts.put_off(*id, due)));
    }
}
