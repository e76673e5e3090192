//! The requests of one session in their order: sent, held, retried, answered.
//!
//! Pure: servers and time come in as arguments. All of a session's unanswered requests are with
//! one server, so that their order holds; a lost server's are sent again, in order, to another.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use imago_proto::Status;

use crate::{ForwardConfig, LaneOwner, PeerId, Request};

/// What is said of a request that would be too much.
pub(super) const BUSY: &str = "busy, try again later";

/// What became of a request given to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// In the server's queue.
    Queued,
    /// The server's queue is full, or it owes too much.
    Full,
    /// The server is gone, or will take no more.
    Gone,
}

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It is Adult.
    Usable,
    /// It answers what it has, but is to get no more, or none for now: it leaves, is doubted, or is unfit
    /// where others are fit.
    Draining,
}

/// The servers, as a lane sees them.
pub(crate) trait Servers {
    /// A server for a session with nothing in flight; `last` has answered its last request.
    fn pick(&self, last: Option<&PeerId>) -> Option<PeerId>;
    /// Whether a server with requests in flight takes further ones.
    fn availability(&self, server: &PeerId) -> Availability;
    /// Gives it a request of a session that waits for `own` answers of it already.
    fn send(&self, server: &PeerId, id: u64, own: usize, request: &Request) -> Sent;
    /// It answered a request after so long.
    fn answered(&self, server: &PeerId, took: Duration);
    /// It no longer owes an answer for one request.
    fn settle(&self, server: &PeerId);
    /// Takes one of the places for held requests; false where there is none left.
    fn hold(&self) -> bool;
    /// Gives such a place back.
    fn release(&self);
}

#[derive(Debug)]
struct Entry {
    id: u64,
    request: Request,
    attempts: u32,
    /// When it is answered with an error: the end of its hold, or of its wait for an answer.
    deadline: Instant,
    held: bool,
}

/// The state machine of a lane.
#[derive(Debug)]
pub(crate) struct LaneCore {
    config: ForwardConfig,
    server: Option<PeerId>,
    /// The first `sent` are with `server`; the others wait.
    entries: VecDeque<Entry>,
    sent: usize,
}

impl LaneCore {
    pub(crate) fn new(config: ForwardConfig) -> Self {
        Self { config, server: None, entries: VecDeque::new(), sent: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The server of the requests in flight, or of the last ones.
    pub(crate) fn server(&self) -> Option<&PeerId> {
        self.server.as_ref()
    }

    /// The next moment at which [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // What is sent is sent in order, for the same time; few are not.
        let first = self.entries.front().filter(|_| self.sent > 0);
        first.into_iter().chain(self.entries.iter().skip(self.sent)).map(|it| it.deadline).min()
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.entries.iter().map(|entry| entry.deadline)
    }

    pub(crate) fn submit(
        &mut self,
        id: u64,
        request: Request,
        servers: &dyn Servers,
        owner: &dyn LaneOwner,
        now: Instant,
    ) {
        let deadline = now + self.config.hold;
        self.entries.push_back(Entry { id, request, attempts: 0, deadline, held: false });
        self.pump(servers, owner, now);
    }

    /// Takes the request that was answered; `None` where it was not waited for any more.
    pub(crate) fn answered(
        &mut self,
        id: u64,
        servers: &dyn Servers,
        now: Instant,
    ) -> Option<Request> {
        let sent = self.entries.iter().take(self.sent);
        let position = sent.enumerate().find(|(_, entry)| entry.id == id)?.0;
        let entry = self.entries.remove(position)?;
        self.sent -= 1;
        if let Some(server) = &self.server {
            let sent_at = entry.deadline - self.config.timeout;
            servers.answered(server, now.saturating_duration_since(sent_at));
        }
        Some(entry.request)
    }

    /// The server is gone: what it has not answered goes to another one.
    pub(crate) fn lost(
        &mut self,
        server: &PeerId,
        servers: &dyn Servers,
        owner: &dyn LaneOwner,
        now: Instant,
    ) {
        if self.server.as_ref() != Some(server) {
            return;
        }
        self.unsend(now);
        let attempts = self.config.attempts;
        self.refuse_where(servers, owner, |entry| {
            (entry.attempts >= attempts)
                .then_some((Status::SystemException, "the servers asked went away, try again"))
        });
        self.pump(servers, owner, now);
    }

    /// Answers what has waited too long.
    pub(crate) fn tick(&mut self, servers: &dyn Servers, owner: &dyn LaneOwner, now: Instant) {
        let sent = self.sent;
        let mut position = 0;
        self.refuse_where(servers, owner, |entry| {
            let is_sent = position < sent;
            position += 1;
            if entry.deadline > now {
                None
            } else if is_sent {
                Some((Status::SystemException, "the server did not answer in time, try again"))
            } else {
                Some((Status::ServiceNotFound, "no server takes this request at the moment"))
            }
        });
        self.pump(servers, owner, now);
    }

    /// Everything may be answered, and held, for this much longer.
    pub(crate) fn postpone(&mut self, by: Duration) {
        for entry in &mut self.entries {
            entry.deadline += by;
        }
    }

    /// Sends what may be sent.
    pub(crate) fn pump(&mut self, servers: &dyn Servers, owner: &dyn LaneOwner, now: Instant) {
        // Each round ends, sends, or gives up on one server; a server that is gone is not picked
        // again, and one more round than there are attempts is never needed.
        for _ in 0..=self.config.attempts {
            if self.sent == self.entries.len() {
                return;
            }
            let Some(server) = self.choose(servers).or_else(|| {
                // First held, then a second look: whoever makes a server usable looks afterwards
                // whether anything is held.
                self.hold_the_rest(servers, owner);
                self.choose(servers)
            }) else {
                return;
            };
            if self.send_the_rest(&server, servers, owner, now) {
                return;
            }
            self.unsend(now);
        }
        self.hold_the_rest(servers, owner);
    }

    /// The server of the requests in flight, or a new one where there are none.
    fn choose(&mut self, servers: &dyn Servers) -> Option<PeerId> {
        if self.sent == 0 {
            self.server = servers.pick(self.server.as_ref());
            return self.server.clone();
        }
        let server = self.server.clone()?;
        (servers.availability(&server) == Availability::Usable).then_some(server)
    }

    /// False when the server turned out to be gone.
    fn send_the_rest(
        &mut self,
        server: &PeerId,
        servers: &dyn Servers,
        owner: &dyn LaneOwner,
        now: Instant,
    ) -> bool {
        while let Some(entry) = self.entries.get_mut(self.sent) {
            match servers.send(server, entry.id, self.sent, &entry.request) {
                Sent::Queued => {
                    entry.attempts += 1;
                    entry.deadline = now + self.config.timeout;
                    if std::mem::take(&mut entry.held) {
                        servers.release();
                    }
                    self.sent += 1;
                }
                Sent::Full => self.refuse_next(servers, owner),
                // What is in flight there comes back as lost; without any, pick another.
                Sent::Gone => return self.sent > 0,
            }
        }
        true
    }

    fn refuse_next(&mut self, servers: &dyn Servers, owner: &dyn LaneOwner) {
        if let Some(entry) = self.entries.remove(self.sent) {
            if entry.held {
                servers.release();
            }
            owner.refused(&entry.request, Status::SystemException, BUSY);
        }
    }

    fn hold_the_rest(&mut self, servers: &dyn Servers, owner: &dyn LaneOwner) {
        let mut position = 0;
        let sent = self.sent;
        self.refuse_where(servers, owner, |entry| {
            let waits = position >= sent;
            position += 1;
            if waits && !entry.held {
                entry.held = servers.hold();
                if !entry.held {
                    return Some((Status::SystemException, "busy, too many requests wait"));
                }
            }
            None
        });
    }

    /// Nothing is in flight any more; what was gets a new time to be held.
    fn unsend(&mut self, now: Instant) {
        for entry in self.entries.iter_mut().take(self.sent) {
            entry.deadline = now + self.config.hold;
        }
        self.sent = 0;
        self.server = None;
    }

    fn refuse_where(
        &mut self,
        servers: &dyn Servers,
        owner: &dyn LaneOwner,
        mut verdict: impl FnMut(&mut Entry) -> Option<(Status, &'static str)>,
    ) {
        let mut sent = self.sent;
        let mut position = 0;
        let server = self.server.clone();
        self.entries.retain_mut(|entry| {
            let was_sent = position < self.sent;
            position += 1;
            let Some((status, why)) = verdict(entry) else { return true };
            if entry.held {
                servers.release();
            }
            if was_sent {
                sent -= 1;
                if let Some(server) = &server {
                    servers.settle(server);
                }
            }
            owner.refused(&entry.request, status, why);
            false
        });
        self.sent = sent;
    }

    /// The session ends: nobody waits for the answers.
    pub(crate) fn abandon(&mut self, servers: &dyn Servers) {
        for (position, entry) in self.entries.drain(..).enumerate() {
            if entry.held {
                servers.release();
            }
            if let (true, Some(server)) = (position < self.sent, &self.server) {
                servers.settle(server);
            }
        }
        self.sent = 0;
    }
}
