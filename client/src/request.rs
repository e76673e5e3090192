//! Requests of an application's own commands.

use std::{borrow::Cow, fmt, future::IntoFuture, marker::PhantomData, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use imago_proto::{Limits, LogicPacket};

use crate::{Client, Error, client::Ask, command::is_own, outbox::Repeat};

/// A type that is read from the body of an answer or a push.
///
/// Every Protocol Buffers message is one. Implement it for bodies of another form:
///
/// ```
/// use bytes::Bytes;
/// use imago_client::FromBody;
///
/// struct Text(String);
///
/// impl FromBody for Text {
///     fn from_body(body: Bytes) -> Option<Self> {
///         String::from_utf8(body.into()).ok().map(Self)
///     }
/// }
/// ```
pub trait FromBody: Sized {
    /// Returns what the body says; `None` where it cannot be read.
    fn from_body(body: Bytes) -> Option<Self>;
}

impl<M: prost::Message + Default> FromBody for M {
    fn from_body(body: Bytes) -> Option<Self> {
        M::decode(body).ok()
    }
}

/// An answer whose body is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The body, as the handler encoded it.
    pub body: Bytes,
}

impl FromBody for Response {
    fn from_body(body: Bytes) -> Option<Self> {
        Some(Self { body })
    }
}

/// A request of an application's own command, sent when it is awaited: see
/// [`Client::request`].
#[must_use = "a request is sent when it is awaited"]
pub struct Request<A> {
    client: Client,
    command: Cow<'static, str>,
    dest: String,
    body: Bytes,
    repeat: Repeat,
    within: Option<Duration>,
    answer: PhantomData<fn() -> A>,
}

// === impl Request ===

impl<A: FromBody> Request<A> {
    pub(crate) fn new(
        client: Client,
        command: Cow<'static, str>,
        dest: String,
        body: Bytes,
    ) -> Self {
        let repeat = Repeat::Never;
        Self { client, command, dest, body, repeat, within: None, answer: PhantomData }
    }

    /// Declares that the command does no harm when it is carried out more than once.
    ///
    /// Such a request is repeated after a lost connection, a missing answer and a temporary refusal (statuses 300,
    /// 302 and 404), until the talk deadline passes.
    pub fn idempotent(mut self) -> Self {
        self.repeat = Repeat::Freely;
        self
    }

    /// Sets how long the answer is waited for in all. Default: the client's request timeout; for an
    /// [`idempotent`](Self::idempotent) request, its talk deadline.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.within = Some(timeout);
        self
    }

    async fn send(self) -> Result<A, Error> {
        let Self { client, command, dest, body, repeat, within, .. } = self;
        check(&command, &dest)?;
        let waited = within.unwrap_or_else(|| client.patience(&repeat));
        let ask = Ask { command: command.clone(), dest, body, text: None, repeat };
        let answer = client.perform_alone(ask, waited).await?;
        A::from_body(answer).ok_or(Error::Answer { command })
    }
}

impl<A: FromBody + 'static> IntoFuture for Request<A> {
    type Output = Result<A, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<A> fmt::Debug for Request<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("command", &self.command)
            .field("dest", &self.dest)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

/// Refuses what would break the client's own state, or end the connection (docs/wire.md, "Packets").
fn check(command: &str, dest: &str) -> Result<(), Error> {
    let unsendable = |why: String| Err(Error::Unsendable { why });
    if command.is_empty() {
        return unsendable("command: expected a name, got nothing".to_owned());
    }
    if is_own(command) {
        return unsendable(format!(
            "command: {command} is one that the client sends itself, use its methods"
        ));
    }
    let (header, limit) =
        (LogicPacket::request(command, u32::MAX, dest, Bytes::new()), Limits::HEADER);
    // All but the two lengths of four bytes each and the magic.
    let bytes = header.encoded_len() - 12;
    if bytes > limit {
        return unsendable(format!(
            "command and dest take {bytes} bytes of a header, expected at most {limit}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_the_connection_is_refused_before_it_is_sent() {
        assert_eq!(check("my.shout", "bob"), Ok(()));
        let why = |command: &str, dest: &str| match check(command, dest) {
            Err(Error::Unsendable { why }) => why,
            other => panic!("{other:?}"),
        };
        assert!(why("", "bob").contains("got nothing"));
        assert!(why("login.signout", "").contains("use its methods"));
        assert!(why("my.shout", &"b".repeat(Limits::HEADER)).contains("at most 16384"));
        // "my.shout", a sequence, and the tag and length of the destination: 10, 6 and 3 bytes.
        assert_eq!(check("my.shout", &"b".repeat(Limits::HEADER - 19)), Ok(()));
        assert!(check("my.shout", &"b".repeat(Limits::HEADER - 18)).is_err());
    }
}
