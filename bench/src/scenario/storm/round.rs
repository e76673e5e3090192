//! One round of a storm: from the cut until all are back, or until the deadline.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{
        connect::{Connection, pauses},
        failure::Kinds,
        target::Target,
        wire,
    },
    measure::recorder::{Recorder, millis},
};

/// Time between looks at how many are back.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// One client.
struct Client {
    number: usize,
    url: String,
    token: String,
    connection: Connection,
}

/// Those that are logged in.
pub(super) struct Clients(Vec<Client>);

/// What the clients of a round share.
pub(super) struct Round {
    /// Lets all be cut off at the same moment.
    ready: Barrier,
    /// Cancelled when no client needs to try any more.
    over: CancellationToken,
    online: AtomicUsize,
    tries: AtomicU64,
    failures: Kinds,
    logins: Recorder,
}

/// The figures of a round.
pub(super) struct Figures {
    clients: usize,
    /// For each client that is back, when it was: ascending, since the cut.
    back: Vec<Duration>,
    pub(super) tries: u64,
    /// Tries that failed, and connections that were lost again.
    pub(super) failures: BTreeMap<String, u64>,
    /// From connecting until logged in, of each try that succeeded.
    pub(super) logins: Histogram<u64>,
    /// How many were logged in, at each step.
    pub(super) online: Vec<f64>,
}

impl Clients {
    pub(super) fn new(target: &Target, connections: Vec<Connection>) -> anyhow::Result<Self> {
        let client = |(number, connection)| {
            let token = target.token(&target.account(number)?)?;
            let url = target.gateway(number).to_owned();
            anyhow::Ok(Client { number, url, token, connection })
        };
        Ok(Self(connections.into_iter().enumerate().map(client).collect::<Result<_, _>>()?))
    }
}

// === impl Round ===

impl Round {
    /// Cuts all off, and waits for them. Gives those that are back.
    pub(super) async fn run(
        clients: Clients,
        number: usize,
        deadline: Duration,
    ) -> anyhow::Result<(Clients, Figures)> {
        let total = clients.0.len();
        let round = Arc::new(Self {
            ready: Barrier::new(total + 1),
            over: CancellationToken::new(),
            online: AtomicUsize::new(0),
            tries: AtomicU64::new(0),
            failures: Kinds::default(),
            logins: Recorder::default(),
        });
        let mut returning = JoinSet::new();
        for client in clients.0 {
            returning.spawn(round.clone().cut_off(client));
        }
        round.ready.wait().await;
        let online = round.watch(number, total, deadline).await;
        round.over.cancel();
        let (mut clients, mut back) = (Vec::with_capacity(total), Vec::with_capacity(total));
        while let Some(returned) = returning.join_next().await {
            if let Some((client, at)) = returned.context("a client failed")? {
                clients.push(client);
                back.push(at);
            }
        }
        clients.sort_by_key(|client| client.number);
        back.sort();
        let figures = Figures {
            clients: total,
            back,
            tries: round.tries.load(Ordering::SeqCst),
            failures: round.failures.counts(),
            logins: round.logins.take(),
            online,
        };
        Ok((Clients(clients), figures))
    }

    /// Looks again and again at how many are back.
    async fn watch(&self, number: usize, total: usize, deadline: Duration) -> Vec<f64> {
        let progress = ProgressBar::new(total as u64);
        progress.set_message(format!("round {number}"));
        let (begun, mut online) = (Instant::now(), Vec::new());
        loop {
            let now = self.online.load(Ordering::SeqCst);
            online.push(now as f64);
            progress.set_position(now as u64);
            if now == total || begun.elapsed() >= deadline {
                progress.finish_and_clear();
                return online;
            }
            sleep(STEP).await;
        }
    }

    /// Cuts one off, and has it come back. Gives the time since the cut; `None` where the round is
    /// over before.
    async fn cut_off(self: Arc<Self>, client: Client) -> Option<(Client, Duration)> {
        let Client { number, url, token, connection } = client;
        self.ready.wait().await;
        let begun = Instant::now();
        drop(connection);
        let mut pauses = pauses();
        loop {
            if let Some((mut reader, writer)) = self.try_once(number, &url, &token).await? {
                let at = begun.elapsed();
                self.online.fetch_add(1, Ordering::SeqCst);
                let Some(ended) = self.unless_over(reader.ended()).await else {
                    return Some((Client { number, url, token, connection: (reader, writer) }, at));
                };
                self.online.fetch_sub(1, Ordering::SeqCst);
                self.failures.add(format_args!("logged in, but {ended}"));
            }
            self.unless_over(sleep(pauses.next_delay())).await?;
        }
    }

    /// Some connection, or none where this try has failed. `None` where the round is over.
    async fn try_once(&self, number: usize, url: &str, token: &str) -> Option<Option<Connection>> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let begun = Instant::now();
        match self.unless_over(wire::connect(url, token)).await? {
            Ok(connection) => {
                self.logins.record(number, begun.elapsed());
                Some(Some(connection))
            }
            Err(not_in) => {
                self.failures.add(not_in.failure);
                Some(None)
            }
        }
    }

    async fn unless_over<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = what => Some(done),
            () = self.over.cancelled() => None,
        }
    }
}

// === impl Figures ===

impl Figures {
    /// How many are not back.
    pub(super) fn missing(&self) -> usize {
        self.clients - self.back.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing() == 0
    }

    /// Milliseconds from the cut until this share of the clients was back, if it ever was.
    pub(super) fn until(&self, share: f64) -> Option<f64> {
        let nth = (self.clients as f64 * share).ceil() as usize;
        let at = self.back.get(nth.max(1) - 1)?;
        Some(at.as_secs_f64() * 1000.0)
    }

    /// As a row of a table.
    pub(super) fn row(&self, number: usize) -> Vec<String> {
        let until = |share| self.until(share).map_or("-".to_owned(), |ms| format!("{ms:.0}"));
        let login = |quantile| format!("{:.1}", millis(&self.logins, quantile));
        let failed: u64 = self.failures.values().sum();
        vec![
            format!("round {number}"),
            until(0.5),
            until(0.99),
            until(1.0),
            self.tries.to_string(),
            failed.to_string(),
            login(0.5),
            login(0.99),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::recorder::histogram;

    fn figures(clients: usize, back: &[u64]) -> Figures {
        Figures {
            clients,
            back: back.iter().copied().map(Duration::from_millis).collect(),
            tries: 9,
            failures: BTreeMap::from([("refused".to_owned(), 4)]),
            logins: histogram(),
            online: Vec::new(),
        }
    }

    #[test]
    fn a_share_is_back_with_the_client_that_makes_it_full() {
        let all = figures(4, &[10, 20, 30, 40]);
        assert_eq!(
            [0.5, 0.51, 0.99, 1.0].map(|share| all.until(share)),
            [20.0, 30.0, 40.0, 40.0].map(Some)
        );
        assert!(all.is_complete());
        assert_eq!(figures(1, &[7]).until(0.5), Some(7.0));
    }

    #[test]
    fn a_share_that_never_came_back_has_no_time() {
        let some = figures(4, &[10, 20, 30]);
        assert_eq!((some.until(0.5), some.until(0.99), some.missing()), (Some(20.0), None, 1));
        assert_eq!(some.row(2)[..6], ["round 2", "20", "-", "-", "9", "4"]);
    }
}
