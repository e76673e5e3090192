//! The handle of a client.

mod groups;
mod reads;
mod requests;
mod streams;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use imago_proto::{
    command,
    msg::{MessageReq, MessageResp},
};
use prost::Message as _;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::{
    AckMode, Builder, CloseReason, Error, Event, Message, Outgoing, Push, Receipt, Seq, Session,
    State,
    driver::{self, Command},
    marks::Marks,
    options::Options,
    outbox::{Call, Lane, Repeat},
};

/// Commands that wait for the driver. Overflow policy: the caller waits, up to its deadline.
const COMMANDS: usize = 256;
/// Messages handed out to the application's stream. Overflow policy: the rest waits in the inbox,
/// which is bounded, too.
const HANDED_OUT: usize = 32;
/// Events that wait in each [`Events`](crate::Events). Overflow policy: the oldest are dropped, and
/// [`Event::Missed`] counts them.
const EVENTS: usize = 256;
/// Pushes that wait in each [`Pushes`](crate::Pushes). Overflow policy: the oldest are dropped, and counted.
const PUSHES: usize = 256;

/// A connection to a cluster that keeps itself alive. Cheap to clone; when the last clone is
/// dropped, it disconnects.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    commands: mpsc::Sender<Command>,
    messages: Arc<Mutex<mpsc::Receiver<Message>>>,
    marks: Arc<Marks>,
    acks: AckMode,
    state: watch::Receiver<State>,
    session: watch::Receiver<Session>,
    events: broadcast::WeakSender<Event>,
    pushes: broadcast::WeakSender<Push>,
    request_timeout: Duration,
    talk_deadline: Duration,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Client {
    /// Returns a builder of a client of these gateways: `ws://host:port/path` or `tcp://host:port`, one or many.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), imago_client::Error> {
    /// use std::time::Duration;
    ///
    /// let gateways = ["ws://192.0.2.1:8000", "ws://192.0.2.2:8000"];
    /// let client = imago_client::Client::builder(gateways)
    ///     .token("a token")
    ///     .device("phone")
    ///     .request_timeout(Duration::from_secs(3))
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Builder {
        Builder::new(urls.into_iter().map(Into::into).collect())
    }

    pub(crate) async fn connect(options: Options) -> Result<Self, Error> {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (handed_out, messages) = mpsc::channel(HANDED_OUT);
        let (state_in, state) = watch::channel(State::Connecting);
        let (session_in, session) = watch::channel(Session::default());
        let (events_in, _) = broadcast::channel(EVENTS);
        let events = events_in.downgrade();
        let (pushes_in, _) = broadcast::channel(PUSHES);
        let pushes = pushes_in.downgrade();
        let marks = Arc::new(Marks::default());
        let stop = CancellationToken::new();
        let Options { connect_timeout, request_timeout, talk_deadline, acks, .. } = options;
        let shell = driver::Shell {
            commands: inbox,
            messages: handed_out,
            marks: marks.clone(),
            state: state_in,
            session: session_in,
            events: events_in,
            pushes: pushes_in,
            stop: stop.clone(),
        };
        tokio::spawn(driver::run(options, shell));
        let messages = Arc::new(Mutex::new(messages));
        let inner = Inner {
            commands,
            messages,
            marks,
            acks,
            state,
            session,
            events,
            pushes,
            request_timeout,
            talk_deadline,
            stop: stop.clone(),
            _stop_on_drop: stop.drop_guard(),
        };
        let client = Self { inner: Arc::new(inner) };
        client.first_login(connect_timeout).await?;
        Ok(client)
    }

    async fn first_login(&self, timeout: Duration) -> Result<(), Error> {
        let mut state = self.state();
        let decided = |state: &State| matches!(state, State::Online | State::Closed { .. });
        let outcome = timeout_at(Instant::now() + timeout, state.wait_for(decided)).await;
        let last = match outcome {
            Ok(Ok(state)) => match &*state {
                State::Closed { why: CloseReason::Refused { status, message } } => {
                    return Err(Error::LoginRefused { status: *status, message: message.clone() });
                }
                State::Closed { why } => return Err(Error::Closed(why.clone())),
                _ => return Ok(()),
            },
            Ok(Err(_)) => return Err(Error::Closed(CloseReason::ClosedByUser)),
            Err(_) => match &*self.inner.state.borrow() {
                State::Reconnecting { why, .. } => why.clone(),
                _ => "no answer".to_owned(),
            },
        };
        Err(Error::Unreachable { waited: timeout, last })
    }

    /// Sends a message to an account and waits until it is stored.
    ///
    /// Over lost connections and busy servers the message is repeated under the same client message id, so it is
    /// stored once. Messages to one account are stored in the order of the calls; others do not wait for them.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use imago_client::{Error, Outgoing};
    ///
    /// // An id of the application's own lets the message be sent again, even by another process.
    /// let message = || Outgoing::text("hello").id("order-4711");
    /// match client.talk("bob", message()).await {
    ///     Err(Error::Unconfirmed { .. }) => client.talk("bob", message()).await?,
    ///     receipt => receipt?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Rejected`] when the server refuses it; [`Error::NotSent`] or
    /// [`Error::Unconfirmed`] when the talk deadline passes; [`Error::Closed`].
    pub async fn talk(
        &self,
        dest: impl Into<String>,
        message: impl Into<Outgoing>,
    ) -> Result<Receipt, Error> {
        let dest = dest.into();
        let call = self.message(command::CHAT_USER_TALK, dest.clone(), message.into());
        self.send(Lane::Account(dest), call).await
    }

    /// A request that says a message.
    fn message(&self, command: &'static str, dest: String, message: Outgoing) -> Ask {
        let id = message.id.unwrap_or_else(new_id);
        let request = MessageReq {
            r#type: message.kind,
            body: message.body,
            extra: message.extra,
            client_message_id: id.clone(),
        };
        let body = Bytes::from(request.encode_to_vec());
        let repeat = Repeat::Under(id);
        Ask { command: command.into(), dest, body, text: Some(request.body), repeat }
    }

    async fn send(&self, lane: Lane, message: Ask) -> Result<Receipt, Error> {
        let answer: MessageResp = self.call(lane, message).await?;
        Ok(Receipt {
            message_id: answer.message_id,
            conversation: answer.conversation.into(),
            seq: Seq(answer.seq),
            send_time: answer.send_time,
        })
    }

    /// Repeats a request until there is an answer, or the talk deadline passes.
    async fn call<A: prost::Message + Default>(&self, lane: Lane, ask: Ask) -> Result<A, Error> {
        let command = ask.command.clone();
        let answer = self.perform(lane, ask, self.inner.talk_deadline).await?;
        A::decode(answer).map_err(|_| Error::Answer { command })
    }

    /// Hands a request to the driver and waits for its outcome.
    async fn perform(&self, lane: Lane, ask: Ask, waited: Duration) -> Result<Bytes, Error> {
        let deadline = Instant::now() + waited;
        let (answer, outcome) = oneshot::channel();
        let Ask { command, dest, body, text, repeat } = ask;
        let call =
            Call { lane, command, dest, body, text, repeat, deadline, waited, tries: 0, answer };
        match timeout_at(deadline, self.inner.commands.reserve()).await {
            Ok(slot) => slot.map_err(|_| self.closed())?.send(Command::Call(call)),
            Err(_) => call.expire(),
        }
        outcome.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Asks the server for messages that have not come yet, and waits until they are fetched.
    ///
    /// Rarely needed: the client does so by itself after each login and whenever it sees a gap. Where the server has
    /// more messages than may wait for the application, the rest is fetched once it has taken these.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// client.sync().await?;
    /// println!("all that was sent before is in the stream of messages");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`] when the talk deadline passes; [`Error::Closed`].
    pub async fn sync(&self) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.ask(Command::Sync(done), outcome, self.inner.talk_deadline).await
    }

    /// Tells the server what was consumed and ends the session; the client is closed then, also
    /// where no answer came.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// client.logout().await?;
    /// assert!(matches!(*client.state().borrow(), imago_client::State::Closed { .. }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`] when the server did not answer; [`Error::Closed`] when it was closed
    /// before.
    pub async fn logout(&self) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        let ended = self.ask(Command::Logout(done), outcome, self.inner.talk_deadline).await;
        if matches!(ended, Err(Error::Timeout(_))) {
            self.inner.stop.cancel();
        }
        ended
    }

    /// Returns what the client is doing, and every change of it.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// let mut state = client.state();
    /// while state.changed().await.is_ok() {
    ///     println!("{}", *state.borrow_and_update());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn state(&self) -> watch::Receiver<State> {
        self.inner.state.clone()
    }

    /// Returns where the client is logged in, or was last.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// let session = client.session();
    /// println!("{} is connected to {}", session.account, session.gateway);
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self) -> Session {
        self.inner.session.borrow().clone()
    }

    async fn ask(
        &self,
        command: Command,
        outcome: oneshot::Receiver<Result<(), Error>>,
        within: Duration,
    ) -> Result<(), Error> {
        let asked = async {
            self.inner.commands.send(command).await.map_err(|_| self.closed())?;
            outcome.await.unwrap_or_else(|_| Err(self.closed()))
        };
        timeout_at(Instant::now() + within, asked).await.unwrap_or(Err(Error::Timeout(within)))
    }

    fn closed(&self) -> Error {
        match &*self.inner.state.borrow() {
            State::Closed { why } => Error::Closed(why.clone()),
            _ => Error::Closed(CloseReason::ClosedByUser),
        }
    }
}

/// What is asked of the server; see [`Call`].
pub(crate) struct Ask {
    pub(crate) command: Cow<'static, str>,
    pub(crate) dest: String,
    pub(crate) body: Bytes,
    pub(crate) text: Option<String>,
    pub(crate) repeat: Repeat,
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("session", &*self.inner.session.borrow())
            .field("state", &*self.inner.state.borrow())
            .finish()
    }
}
