//! Clients that talk to each other, and the history of what they saw.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use imago_client::Client;
use tokio::task::JoinSet;

use crate::{History, Outcome, Server, World, eventually};

/// Clients of one world that send each other messages.
pub struct Traffic {
    clients: Vec<(String, Client)>,
    history: Arc<Mutex<History>>,
    /// Senders and receivers.
    senders: JoinSet<()>,
    receivers: JoinSet<()>,
}

impl Traffic {
    /// Connects clients, spread over the gateways; each knows all of them.
    pub async fn connect(world: &World, gateways: &[&Server], count: usize) -> Self {
        let history = Arc::new(Mutex::new(History::default()));
        let mut clients = Vec::new();
        let mut receivers = JoinSet::new();
        for number in 0..count {
            let account = format!("user-{number}");
            let client = world.client(&account, gateways).await;
            receivers.spawn(receive(account.clone(), client.clone(), history.clone()));
            clients.push((account, client));
        }
        Self { clients, history, senders: JoinSet::new(), receivers }
    }

    /// Has every client send so many messages, one after the other, to the others in turn.
    pub fn send(&mut self, each: u64) {
        let names: Vec<String> = self.clients.iter().map(|(name, _)| name.clone()).collect();
        for (index, (name, client)) in self.clients.iter().enumerate() {
            let others: Vec<String> =
                names.iter().cycle().skip(index + 1).take(names.len() - 1).cloned().collect();
            let (name, client, history) = (name.clone(), client.clone(), self.history.clone());
            self.senders.spawn(async move {
                for number in 1..=each {
                    let Some(to) = others.get(number as usize % others.len().min(3)) else {
                        return;
                    };
                    lock(&history).sends(&name, to, number);
                    let sent = client.talk(to.clone(), number.to_string()).await;
                    let outcome = match sent {
                        Ok(receipt) => Outcome::Accepted {
                            conversation: receipt.conversation.to_string(),
                            seq: receipt.seq.0,
                        },
                        Err(error) => Outcome::Failed(error.to_string()),
                    };
                    lock(&history).ends(&name, number, outcome);
                }
            });
        }
    }

    /// Waits until so many messages were accepted.
    pub async fn accepted(&self, messages: usize) {
        let what = format!("{messages} messages are accepted");
        eventually(Duration::from_secs(90), &what, || async {
            (lock(&self.history).accepted() >= messages).then_some(())
        })
        .await;
    }

    /// Waits until everything that was sent is answered, and everything accepted has come; gives
    /// the history.
    ///
    /// # Panics
    /// When a sender panicked.
    pub async fn finish(mut self) -> History {
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("a sender ends");
        }
        let history = self.history.clone();
        // A missing message is told by the checker, not by this wait.
        let came = eventually(Duration::from_secs(40), "all messages came", || async {
            let history = lock(&history);
            (history.received() >= history.accepted()).then_some(())
        });
        let _ = tokio::time::timeout(Duration::from_secs(30), came).await;
        self.receivers.shutdown().await;
        lock(&self.history).clone()
    }
}

async fn receive(account: String, client: Client, history: Arc<Mutex<History>>) {
    let mut messages = client.messages();
    while let Some(message) = messages.next().await {
        let number = message.body.parse().unwrap_or(u64::MAX);
        lock(&history).receives(&account, message.sender.as_str(), number);
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
