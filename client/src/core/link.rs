//! The life of a connection: made, kept alive, lost, made again, given up.

use std::time::Duration;

use bytes::Bytes;
use imago_proto::{BasicPacket, close, command};
use tokio::time::Instant;

use super::{Action, Core, Phase, Request, Timer, answer};
use crate::{
    CloseReason, Error, Session, State,
    sync::{Phase as SyncPhase, Waiter},
    transport::{LoginError, Lost},
};

/// A connection that lasted this long was a good one: the next pause is short again.
const STABLE: Duration = Duration::from_secs(5);

impl Core {
    /// Begins.
    pub(crate) fn start(&mut self) {
        self.connect();
    }

    pub(super) fn connect(&mut self) {
        self.phase = Phase::Connecting;
        let sequence = self.next_sequence();
        let replaces = self.channels.last().to_owned();
        self.actions.push_back(Action::Connect { gateway: self.gateway, sequence, replaces });
    }

    /// The login has succeeded.
    pub(crate) fn online(&mut self, now: Instant, session: Session) {
        tracing::debug!(channel = session.channel_id, gateway = session.gateway, "online");
        self.channels.push(&session.channel_id);
        self.actions.push_back(Action::Session(session.clone()));
        self.actions.push_back(Action::State(State::Online));
        self.phase = Phase::Online { since: now, session };
        self.attempt = 0;
        self.is_old = false;
        self.timers.set(Timer::Ping, now + self.options.ping_interval);
        self.want_sync();
        self.upkeep(now);
    }

    /// The try to connect has failed.
    pub(crate) fn not_online(&mut self, now: Instant, error: LoginError) {
        match error {
            LoginError::Failed(why) => self.retry(now, why),
            LoginError::Refused { status, message } => {
                self.close(CloseReason::Refused { status, message });
            }
        }
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&mut self, now: Instant, lost: &Lost) {
        self.lost(now, lost.code, &lost.why);
    }

    pub(super) fn lost(&mut self, now: Instant, code: Option<u16>, why: &str) {
        let Phase::Online { since, .. } = &self.phase else { return };
        if now.saturating_duration_since(*since) >= STABLE {
            self.failures = 0;
        }
        // 1001: the gateway leaves in good order, and others are there.
        if code == Some(1001) {
            self.failures = 0;
        }
        self.abandon(why);
        if self.logout.is_some() {
            return self.close(CloseReason::ClosedByUser);
        }
        // The same token would be refused, and another try would take the place of another connection.
        match code {
            Some(close::TOKEN_EXPIRED) => return self.close(CloseReason::Expired),
            Some(close::REPLACED) => return self.close(CloseReason::Replaced),
            _ => {}
        }
        self.actions.push_back(Action::Disconnect);
        self.retry(now, why.to_owned());
    }

    /// Nothing under way will be answered.
    fn abandon(&mut self, why: &str) {
        for (sequence, request) in std::mem::take(&mut self.requests) {
            self.timers.cancel(Timer::Request(sequence));
            match request {
                Request::Ack(cursors) => self.inbox.ack_failed(cursors),
                Request::Call(id) if !self.is_repeated(id) => {
                    self.timers.cancel(Timer::Deadline(id));
                    if let Some(call) = self.outbox.take(id) {
                        call.lose(&format!("the connection was lost: {why}"));
                    }
                }
                _ => {}
            }
        }
        for timer in [Timer::Ping, Timer::Pong, Timer::Ack, Timer::Gap, Timer::Sync] {
            self.timers.cancel(timer);
        }
        if !matches!(self.sync.phase, SyncPhase::Idle) {
            self.sync.failed();
        }
        self.sync.failures = 0;
        self.outbox.wake_all();
    }

    fn retry(&mut self, now: Instant, why: String) {
        self.failures += 1;
        self.attempt += 1;
        self.gateway = (self.gateway + 1) % self.options.gateways.len();
        tracing::debug!(why, attempt = self.attempt, "reconnecting");
        self.phase = Phase::Offline;
        self.timers.set(Timer::Connect, now + self.pause(self.failures));
        self.actions.push_back(Action::State(State::Reconnecting { attempt: self.attempt, why }));
    }

    /// Ends the session at the application's wish.
    pub(crate) fn log_out(&mut self, now: Instant, waiter: Waiter) {
        if let Some(why) = self.unavailable() {
            return answer(waiter, Err(Error::Closed(why)));
        }
        self.logout = Some(waiter);
        if !matches!(self.phase, Phase::Online { .. }) {
            return self.close(CloseReason::ClosedByUser);
        }
        self.inbox.settle();
        while self.inbox.is_dirty() {
            self.acknowledge(now);
        }
        self.request(now, command::LOGIN_SIGNOUT, "", Bytes::new(), Request::Signout);
    }

    /// Ends for good.
    pub(crate) fn close(&mut self, why: CloseReason) {
        tracing::debug!(%why, "closed");
        self.phase = Phase::Closed(why.clone());
        self.requests.clear();
        self.timers.clear();
        for call in self.outbox.drain() {
            call.close(why.clone());
        }
        for waiter in self.sync.waiting.drain(..).chain(self.sync.served.drain(..)) {
            answer(waiter, Err(Error::Closed(why.clone())));
        }
        self.actions.push_back(Action::Disconnect);
        // Before the answer, so that a caller that has its answer finds the client closed.
        self.actions.push_back(Action::State(State::Closed { why: why.clone() }));
        if let Some(waiter) = self.logout.take() {
            let done =
                if why == CloseReason::ClosedByUser { Ok(()) } else { Err(Error::Closed(why)) };
            answer(waiter, done);
        }
    }

    pub(super) fn ping(&mut self, now: Instant) {
        self.timers.set(Timer::Ping, now + self.options.ping_interval);
        self.probe(now);
    }

    /// Sends a ping, which the gateway must answer within the pong timeout.
    pub(super) fn probe(&mut self, now: Instant) {
        self.actions.push_back(Action::Send(BasicPacket::PING.encode()));
        self.timers.set_if_none(Timer::Pong, now + self.options.pong_timeout);
    }
}
