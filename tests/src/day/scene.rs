//! What clients do at the same time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::join_all};
use imago_client::{
    Client, Conversation, Error, Message, NewGroup, Outgoing, Place, Range, Receipt,
};

use super::{
    cast::Day,
    model::{Ack, Cursors, Fate, Talk},
    op::{ACCOUNTS, Act, Deed, GROUPS},
    verdict::Got,
    view::Seen,
};
use crate::{Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a client's application got, with who looks at it.
#[derive(Clone)]
pub(super) struct Log {
    account: String,
    messages: Arc<Mutex<Vec<Message>>>,
}

/// A client that is online.
pub(super) struct Player {
    pub(super) device: usize,
    pub(super) life: usize,
    pub(super) account: String,
    pub(super) client: Client,
    pub(super) log: Log,
}

/// What a client was asked to do.
enum Task {
    Say { number: usize, to: Talk, may: Option<bool> },
    Create { open: bool, members: Vec<String> },
    Change { group: String, account: String, is_join: bool, may: Option<bool> },
    Ack(Vec<(Talk, Message)>),
}

/// How it ended.
enum Done {
    Said(Result<Receipt, Error>),
    Created(Result<String, Error>),
    Changed(Result<(), Error>),
    Acked,
}

pub(super) fn read(log: &Log) -> Got {
    let messages = log.messages.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = |message: &Message| Seen {
        id: message.message_id,
        seq: message.seq.0,
        by: message.sender.to_string(),
        body: message.body.clone(),
    };
    messages.iter().map(|message| (log.talk_of(message), seen(message))).collect()
}

impl Log {
    fn talk_of(&self, message: &Message) -> Talk {
        match (&message.group, &message.sent_to) {
            (Some(group), _) => Talk::Group(group.to_string()),
            (None, Some(to)) => Talk::between(&self.account, to.as_str()),
            (None, None) => Talk::between(&self.account, message.sender.as_str()),
        }
    }

    /// The last message of each conversation, but for so many. Of others: of an account's own nobody
    /// can see whether the acknowledgement is stored where it left a group and came back.
    fn last_but(&self, but: usize) -> Vec<(Talk, Message)> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let talks: BTreeSet<Talk> = messages.iter().map(|m| self.talk_of(m)).collect();
        let of = |talk: Talk| {
            let of_others = messages.iter().rev().filter(|m| m.sender.as_str() != self.account);
            let mut found = of_others.filter(|m| self.talk_of(m) == talk);
            let found = found.nth(but).cloned();
            found.map(|message| (talk, message))
        };
        talks.into_iter().filter_map(of).collect()
    }
}

impl Player {
    /// From now on, what comes is logged.
    pub(super) fn new(device: usize, life: usize, account: String, client: Client) -> Self {
        let log = Log { account: account.clone(), messages: Arc::default() };
        let (mut stream, messages) = (client.messages(), log.messages.clone());
        tokio::spawn(async move {
            while let Some(message) = stream.next().await {
                messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        });
        Self { device, life, account, client, log }
    }

    pub(super) async fn say(&self, to: &Talk, number: usize) -> Result<Receipt, Error> {
        let message = Outgoing::text(number.to_string()).id(format!("say-{number}"));
        match to {
            Talk::Group(group) => self.client.group_talk(group.as_str(), message).await,
            Talk::Direct(one, other) => {
                let dest = if *one == self.account { other } else { one };
                self.client.talk(dest, message).await
            }
        }
    }

    async fn perform(&self, task: &Task) -> Done {
        match task {
            Task::Say { number, to, .. } => Done::Said(self.say(to, *number).await),
            Task::Create { open, members } => {
                let group = NewGroup::new("some", members.clone());
                let group = if *open { group.open() } else { group };
                Done::Created(self.client.group_create(group).await.map(|id| id.to_string()))
            }
            Task::Change { group, account, is_join: true, .. } => {
                Done::Changed(self.client.group_add(group.as_str(), account.as_str()).await)
            }
            Task::Change { group, account, .. } => {
                Done::Changed(self.client.group_remove(group.as_str(), account.as_str()).await)
            }
            Task::Ack(marks) => {
                for (_, message) in marks {
                    self.client.ack(message);
                }
                for (_, message) in marks {
                    self.acked(message).await;
                }
                Done::Acked
            }
        }
    }

    /// Waits until the account's read mark is there, and no message up to it counts as unread.
    async fn acked(&self, message: &Message) {
        eventually(PATIENCE, "messages are acknowledged", || async {
            let place = Place::Conversation(message.conversation.clone());
            let later = self.client.history(place, Range::After(message.seq), 200).await.ok()?;
            let from_others =
                later.messages.iter().filter(|m| m.sender.as_str() != self.account).count();
            let page = self.client.conversations(None).await.ok()?;
            let mut found = page.conversations.into_iter();
            let found = found.find(|one| one.id == message.conversation)?;
            let is_acked = found.cursor >= message.seq && found.unread as usize <= from_others;
            is_acked.then_some(())
        })
        .await;
    }
}

impl Player {
    /// Waits until it has the newest message of each conversation that is neither its account's
    /// own nor acknowledged by its device before.
    pub(super) async fn is_sated(&self, before: &Cursors) {
        let what = format!("{} has got all that there is", self.account);
        eventually(PATIENCE / 2, &what, || async {
            let page = self.client.conversations(None).await.ok()?;
            let got = read(&self.log);
            page.conversations.iter().all(|one| self.has_last(one, before, &got)).then_some(())
        })
        .await;
    }

    fn has_last(&self, of: &Conversation, before: &Cursors, got: &Got) -> bool {
        let Some(last) = &of.last else { return true };
        let acked = before.get(&self.log.talk_of(last)).map_or(0, |cursor| cursor.sent);
        let is_had = last.sender.as_str() == self.account || last.seq.0 <= acked;
        is_had || got.iter().any(|(_, seen)| seen.id == last.message_id)
    }
}

impl Day {
    /// Clients do all of this at the same time; a server is killed after so many answers.
    pub(super) async fn together(&mut self, deeds: &[Deed], kill: Option<(&mut Server, usize)>) {
        let mut contested = BTreeSet::new();
        for deed in deeds {
            self.contest(deed, &mut contested);
        }
        let mut changing = BTreeSet::new();
        let mut tasks = Vec::new();
        for deed in deeds {
            let Some(at) = deed.client.checked_rem(self.online.len()) else { continue };
            let task = self.task(at, &deed.act, &contested, &mut changing);
            tasks.extend(task.map(|task| (at, task)));
        }
        let answers = AtomicUsize::new(0);
        let performed = tasks.iter().map(|(at, task)| {
            let count = |done| {
                answers.fetch_add(1, Ordering::Relaxed);
                done
            };
            self.online[*at].perform(task).map(count)
        });
        let killed = async {
            let Some((server, after)) = kill else { return };
            let after = after.min(tasks.len().saturating_sub(1));
            eventually(PATIENCE, "answers come", || async {
                (answers.load(Ordering::Relaxed) >= after).then_some(())
            })
            .await;
            server.kill9().await;
        };
        let (done, ()) = tokio::join!(join_all(performed), killed);
        let acks = tasks.iter().flat_map(|(at, task)| self.acks(*at, task));
        let acks: Vec<Ack> = acks.collect();
        self.model.acks(&acks);
        for ((at, task), done) in tasks.into_iter().zip(done) {
            self.record(at, task, done);
        }
    }

    /// What a client acknowledges by a task.
    fn acks(&self, at: usize, task: &Task) -> Vec<Ack> {
        let Task::Ack(marks) = task else { return Vec::new() };
        let player = &self.online[at];
        let ack = |(talk, message): &(Talk, Message)| Ack {
            account: player.account.clone(),
            device: player.device,
            talk: talk.clone(),
            seq: message.seq.0,
        };
        marks.iter().map(ack).collect()
    }

    /// Notes whose membership a deed may change.
    fn contest(&self, deed: &Deed, contested: &mut BTreeSet<(String, String)>) {
        let Some(at) = deed.client.checked_rem(self.online.len()) else { return };
        let own = &self.online[at].account;
        let (group, account) = match deed.act {
            Act::Join(group) | Act::Quit(group) => (group, own),
            Act::Add(group, account) | Act::Remove(group, account) => {
                (group, &self.names[account % ACCOUNTS])
            }
            _ => return,
        };
        contested.extend(self.group(own, group).map(|group| (group, account.clone())));
    }

    fn task(
        &mut self,
        at: usize,
        act: &Act,
        contested: &BTreeSet<(String, String)>,
        changing: &mut BTreeSet<(String, String)>,
    ) -> Option<Task> {
        let (life, own) = (self.online[at].life, self.online[at].account.clone());
        let is_sure = |group: &str| !contested.contains(&(group.to_owned(), own.clone()));
        let (group, account, is_join) = match *act {
            Act::Tell(to) => {
                let to = Talk::between(&own, &self.names[to % ACCOUNTS]);
                let number = self.model.says(life, to.clone());
                return Some(Task::Say { number, to, may: Some(true) });
            }
            Act::Say(group) => {
                let group = self.group(&own, group)?;
                let may = is_sure(&group).then(|| self.model.is_member(&group, &own));
                let to = Talk::Group(group);
                let number = self.model.says(life, to.clone());
                return Some(Task::Say { number, to, may });
            }
            Act::Again => return self.again(life),
            Act::Create { .. } if self.model.groups.len() >= GROUPS => return None,
            Act::Create { open, members } => {
                let named = self.names.iter().zip(members).filter(|(_, is_in)| *is_in);
                let members = named.map(|(name, _)| name.clone()).collect();
                return Some(Task::Create { open, members });
            }
            Act::Ack(but) => return Some(Task::Ack(self.online[at].log.last_but(but))),
            Act::Join(group) => (group, own.clone(), true),
            Act::Quit(group) => (group, own.clone(), false),
            Act::Add(group, who) => (group, self.names[who % ACCOUNTS].clone(), true),
            Act::Remove(group, who) => (group, self.names[who % ACCOUNTS].clone(), false),
        };
        let group = self.group(&own, group)?;
        // Of two changes of one membership at the same time, nobody knows which was last.
        if !changing.insert((group.clone(), account.clone())) {
            return None;
        }
        let sure = is_sure(&group) || own == account;
        let may = sure.then(|| self.model.may_change(&group, &own, &account, is_join));
        Some(Task::Change { group, account, is_join, may })
    }

    /// What a life said last, where that was accepted.
    fn again(&mut self, life: usize) -> Option<Task> {
        let number = self.model.said.iter().rposition(|said| said.life == life)?;
        let said = &mut self.model.said[number];
        let is_stored = matches!(said.fate, Fate::Accepted(_));
        said.is_repeated |= is_stored;
        is_stored.then(|| Task::Say { number, to: said.to.clone(), may: Some(true) })
    }

    fn record(&mut self, at: usize, task: Task, done: Done) {
        let own = self.online[at].account.clone();
        match (task, done) {
            (Task::Say { number, may, .. }, Done::Said(said)) => {
                self.outcome(&format!("{own} says {number}"), &said, may);
                let fate = match said {
                    Ok(receipt) => Fate::Accepted(receipt.seq.0),
                    Err(_) => Fate::Refused,
                };
                let known = &mut self.model.said[number].fate;
                if matches!(known, Fate::Accepted(_)) && *known != fate {
                    self.faults.push(format!("{number} of {own}: {known:?}, repeated {fate:?}"));
                }
                *known = fate;
            }
            (Task::Create { open, members }, Done::Created(created)) => {
                self.outcome(&format!("{own} makes a group"), &created, Some(true));
                if let Ok(id) = created {
                    self.model.created(&id, &own, open, &members);
                }
            }
            (Task::Change { group, account, is_join, may }, Done::Changed(changed)) => {
                let what = format!("{own} changes {account} in {group}: join {is_join}");
                self.outcome(&what, &changed, may);
                if changed.is_ok() {
                    self.model.changed(&group, &account, is_join);
                }
            }
            (Task::Ack(_), Done::Acked) => {}
            _ => unreachable!("tasks end in their own way"),
        }
    }

    /// Finds fault with an outcome: refused or not as is known, and nothing else.
    fn outcome<T>(&mut self, what: &str, outcome: &Result<T, Error>, may: Option<bool>) {
        let is_expected = match outcome {
            Ok(_) => may != Some(false),
            Err(Error::Rejected { .. }) => may != Some(true),
            Err(_) => false,
        };
        if !is_expected {
            let ended = outcome.as_ref().map(drop);
            self.faults.push(format!("{what}: {ended:?}, allowed: {may:?}"));
        }
    }
}
