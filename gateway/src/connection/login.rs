//! The first request of a client: who is it, and may it come in.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use imago_container::Route;
use imago_proto::{
    LogicPacket, SessionId, Status, command,
    msg::{Header, LoginReq},
};
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{
    BeforeLogin, Connection, Online, expiry::Expiry, going_away, guard::SessionGuard,
    inbound::request_of,
};
use crate::{
    auth::{AuthError, Credentials, Identity},
    config::LOGIN_GRACE,
    context::ConnectionContext,
    lifecycle::Doors,
    metrics,
    outbox::{Close, Outbox, code},
    session::{Client, Crowded, Login, Sessions, refusal},
    transport::{Address, Transport},
};

/// How long a login waits until the logic servers know its session: far longer than that takes, and
/// short for a client when one of them stands still.
const TOLD_PATIENCE: Duration = Duration::from_millis(50);

/// A login that is refused: what the client is answered, and how its connection ends.
struct Refusal {
    status: Status,
    why: String,
    close: Close,
}

impl Refusal {
    fn new(status: Status, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), close: Close::new(code::POLICY, "login refused") }
    }

    /// The answer to what an authenticator says.
    fn of(error: AuthError) -> Self {
        let (status, code, why) = match error {
            AuthError::Unauthorized(why) => (Status::Unauthorized, code::POLICY, why),
            AuthError::TryLater(why) => (Status::SystemException, code::TRY_LATER, why),
        };
        Self { status, close: Close::new(code, why.clone()), why }
    }

    fn closing_with(self, close: Close) -> Self {
        Self { close, ..self }
    }

    /// The packet of the answer. That of a bad token has no body (docs/wire.md, "Test vectors"): its
    /// reason is in the close frame.
    fn answer(&self, request: &Header) -> Bytes {
        if self.status == Status::Unauthorized {
            return LogicPacket::response(request.clone(), "", self.status, Bytes::new()).encode();
        }
        refusal(request.clone(), "", self.status, &self.why)
    }
}

impl BeforeLogin {
    /// Finds out who the client is.
    async fn identify(
        &self,
        context: &ConnectionContext,
        remote: &Address,
        header: &Header,
        body: Bytes,
    ) -> Result<(Identity, LoginReq), Refusal> {
        if header.command != command::LOGIN_SIGNIN {
            return Err(Refusal::new(Status::InvalidCommand, "log in first"));
        }
        let login = LoginReq::decode(body).map_err(|error| {
            Refusal::new(Status::InvalidPacketBody, format!("body does not decode: {error}"))
        })?;
        let credentials = Credentials {
            upgrade: self.upgrade.as_ref(),
            tls: self.tls.as_ref(),
            ..Credentials::new(&login, remote)
        };
        let identity = context.authenticator.authenticate(&credentials).await;
        let identity = identity.and_then(Identity::checked).map_err(Refusal::of)?;
        Ok((identity, login))
    }
}

impl<T: Transport> Connection<T> {
    /// Lets the client in, or answers why not and ends the connection.
    pub(super) async fn log_in(&mut self, header: Header, body: Bytes) {
        let Some(before_login) = &self.before_login else { return };
        // An authenticator may ask others: it gets the time that the client has.
        let identified = before_login.identify(&self.context, &self.remote, &header, body);
        let admitted = tokio::select! {
            biased;
            admitted = timeout_at(self.times.login_by, identified) => admitted,
            // The connection is about to end.
            () = before_login.slot.evicted() => return,
        };
        let opened = match admitted {
            Ok(Ok((identity, login))) => self.open(&header, identity, login).await,
            Ok(Err(refused)) => Err(refused),
            // The deadline has passed: the connection is about to end.
            Err(_) => return,
        };
        if let Err(refused) = opened {
            tracing::debug!(remote = %self.remote, status = refused.status.code(), why = refused.why, "login refused");
            metrics::login_refused(refused.status);
            self.outbox.finish(Some(refused.answer(&header)), refused.close);
        }
    }

    /// Opens the session and forwards the login; the answer comes from a logic server.
    async fn open(
        &mut self,
        header: &Header,
        identity: Identity,
        mut login: LoginReq,
    ) -> Result<(), Refusal> {
        let context = self.context.clone();
        let route = Route { app: identity.app.clone(), account: identity.account.clone() };
        let gateway = context.handle.service_id().as_str();
        let order = context.handle.login_stamp().await;
        let remote = self.remote.to_string();
        let admitted = Login { request: &login, header, remote, order };
        let opened = open(&context.sessions, &identity, &admitted, &self.outbox, gateway).await;
        let Ok(client) = opened else {
            let why = "too many connections of this account";
            let close = Close::new(code::TRY_LATER, why);
            return Err(Refusal::new(Status::SystemException, why).closing_with(close));
        };
        let id = SessionId(client.session.id);
        let session = SessionGuard::new(id, &context);
        // A hand-over of the clients shuts the doors first and then looks into the table: a login that
        // misses the one finds the other.
        if *context.life.doors.borrow() != Doors::Open {
            let refused =
                Refusal::new(Status::ServiceNotFound, "this gateway takes no clients now");
            return Err(refused.closing_with(going_away()));
        }
        let span = tracing::Span::current();
        span.record("channel", &client.session.channel_id);
        span.record("account", &client.session.account);
        // Every logic server learns of the session before any request of it.
        context.handle.session_up(&client.session).await;
        told(&context, id).await;
        let lane = context.handle.open_lane(id, route, client.clone());
        // The token has done its work: it goes no further.
        login.token.clear();
        lane.submit(request_of(header.clone(), login.encode_to_vec().into()));
        tracing::debug!("logging in");
        self.codec.set_packet_max(context.limits.packet);
        self.before_login = None;
        let expires = identity.expires.filter(|_| !context.limits.keep_expired);
        let expiry = expires.map(|at| Expiry::new(at, Instant::now(), SystemTime::now()));
        self.online = Some(Online { client, lane, expiry, is_expired: false, _session: session });
        Ok(())
    }
}

/// Opens a session. Where its account has too many, and none of them has been silent for long enough,
/// waits until one has, but not for longer than others may take to log in.
async fn open(
    sessions: &Sessions,
    identity: &Identity,
    login: &Login<'_>,
    outbox: &Arc<Outbox>,
    gateway: &str,
) -> Result<Arc<Client>, Crowded> {
    /// A time in milliseconds is rounded.
    const ROUNDED: Duration = Duration::from_millis(1);
    let by = Instant::now() + LOGIN_GRACE + ROUNDED;
    loop {
        let crowded = match sessions.open(identity, login, outbox.clone(), gateway) {
            Err(crowded) => crowded,
            opened => return opened,
        };
        let next = crowded.silent_in.map(|wait| Instant::now() + wait + ROUNDED);
        match next.filter(|next| *next <= by) {
            Some(next) => sleep_until(next).await,
            None => return Err(crowded),
        }
    }
}

/// Waits until all logic servers know a session, so that each pushes to it what it stores after the
/// session's mark is taken. Where one does not say so in time, the session is owed what that one stores
/// until it does.
async fn told(context: &Arc<ConnectionContext>, id: SessionId) {
    let handle = context.handle.clone();
    let mut told = Box::pin(async move { handle.taken_in().await });
    if timeout(TOLD_PATIENCE, &mut told).await.is_ok() {
        return;
    }
    let (sessions, stop) = (context.sessions.clone(), context.life.stop.clone());
    context.life.tasks.spawn(stop.run_until_cancelled_owned(async move {
        told.await;
        sessions.delivery.redelivery.owe(&[id.0]);
    }));
}
