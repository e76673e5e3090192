//! Requests of an application's own commands.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use super::{Ask, Client, new_id};
use crate::{
    Error, FromBody, Request, Response,
    outbox::{Lane, Repeat},
};

impl Client {
    /// Requests a command that an application has added to the logic servers, and reads the answer as `A`.
    ///
    /// The servers cannot tell a repeat of such a request from a new one, so the client sends it once, unless it is
    /// [`idempotent`](Request::idempotent). A gateway gives it to another logic server where the first one dies before
    /// it answers; handlers recognise that by the request's key (docs/promotion.md, "Crash").
    ///
    /// Requests do not wait for each other: await one before the next where their order matters. At most 1024 calls of
    /// all kinds wait for an answer; further ones wait for room, up to their timeout. Dropping the future takes back a
    /// request that is not sent yet, and no other.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use imago_proto::msg::{MessageReq, MessageResp};
    ///
    /// let shout = MessageReq { body: "wake up".into(), ..MessageReq::default() };
    /// let answer: MessageResp = client.request("my.shout", "bob", &shout).await?;
    /// // Does no harm when it is carried out twice: repeated until there is an answer.
    /// let again = client.request::<MessageResp>("my.shout", "bob", &shout).idempotent().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Unsendable`] for a command of the client's own, and a header that is too long;
    /// - [`Error::NotSent`] when the timeout passes before it is sent: it was not carried out;
    /// - [`Error::OutcomeUnknown`] when it was sent, and the timeout passes or the connection is lost before the
    ///   answer comes;
    /// - [`Error::Rejected`] and [`Error::Unavailable`] for an answer that refuses it;
    /// - [`Error::Answer`] where the answer is no `A`;
    /// - [`Error::Closed`].
    ///
    /// An idempotent request ends with [`Error::Timeout`] in place of the second and third, and is repeated in place
    /// of [`Error::Unavailable`].
    pub fn request<A: FromBody>(
        &self,
        command: impl Into<Cow<'static, str>>,
        dest: impl Into<String>,
        request: &impl prost::Message,
    ) -> Request<A> {
        Request::new(self.clone(), command.into(), dest.into(), request.encode_to_vec().into())
    }

    /// Requests a command with a body of any form. In all else this is [`request`](Self::request).
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// let answer = client.request_bytes("my.weather", "", r#"{"city":"Rome"}"#).await?;
    /// println!("{}", String::from_utf8_lossy(&answer.body));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn request_bytes(
        &self,
        command: impl Into<Cow<'static, str>>,
        dest: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Request<Response> {
        Request::new(self.clone(), command.into(), dest.into(), body.into())
    }

    /// Returns how long the answer of a request is waited for, unless the request says otherwise.
    pub(crate) fn patience(&self, repeat: &Repeat) -> Duration {
        match repeat {
            Repeat::Never => self.inner.request_timeout,
            Repeat::Freely | Repeat::Under(_) => self.inner.talk_deadline,
        }
    }

    /// Performs a request that waits for no other.
    pub(crate) async fn perform_alone(&self, ask: Ask, waited: Duration) -> Result<Bytes, Error> {
        self.perform(Lane::Alone(new_id()), ask, waited).await
    }
}
