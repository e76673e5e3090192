//! The clients of a run, which start together and end together.

use std::sync::Arc;

use anyhow::Context;
use tokio::{sync::Barrier, task::JoinSet};

use super::talker::{Client, Sending};
use crate::measure::seen::Tally;

/// Clients of one run.
pub(crate) struct Crowd {
    ready: Arc<Barrier>,
    clients: JoinSet<anyhow::Result<Tally>>,
}

impl Crowd {
    /// Makes room for `size` clients.
    pub(crate) fn new(size: usize) -> Self {
        Self { ready: Arc::new(Barrier::new(size + 1)), clients: JoinSet::new() }
    }

    /// A client takes part once all are there.
    pub(crate) fn join(&mut self, client: Client, sending: Option<Sending>) {
        self.add(client.run(sending));
    }

    /// Whatever a client does begins once all are there.
    pub(crate) fn add(
        &mut self,
        part: impl Future<Output = anyhow::Result<Tally>> + Send + 'static,
    ) {
        let ready = self.ready.clone();
        self.clients.spawn(async move {
            ready.wait().await;
            part.await
        });
    }

    /// Lets them begin.
    pub(crate) async fn start(&self) {
        self.ready.wait().await;
    }

    /// Waits for all of them.
    pub(crate) async fn end(mut self) -> anyhow::Result<Tally> {
        let mut total = Tally::default();
        while let Some(ended) = self.clients.join_next().await {
            let tally = ended.context("a client failed")??;
            total.again += tally.again;
            total.late += tally.late;
        }
        Ok(total)
    }
}
