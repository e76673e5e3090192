//! Requests without side effects.

use bytes::Bytes;
use imago_proto::{
    command,
    msg::{ConversationsReq, ConversationsResp, HistoryResp},
};

use super::{Ask, Client, new_id};
use crate::{
    Conversations, Error, History, Place, Range, history,
    outbox::{Lane, Repeat},
};

impl Client {
    /// Returns messages of one conversation, at most `limit` of them: 1 to 200, or 0 for the server's default. They
    /// count neither as received nor as consumed.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use imago_client::{Place, Range};
    ///
    /// let newest = client.history(Place::with("bob"), Range::Latest, 50).await?;
    /// if let (true, Some(first)) = (newest.more, newest.messages.first()) {
    ///     let older = client.history(Place::with("bob"), Range::Before(first.seq), 50).await?;
    ///     println!("{} older messages", older.messages.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Rejected`] where the account is not in the conversation; [`Error::Timeout`] when the talk
    /// deadline passes; [`Error::Closed`].
    pub async fn history(&self, place: Place, range: Range, limit: u32) -> Result<History, Error> {
        let request = history::request(place, range, limit);
        let answer: HistoryResp = self.read(command::CHAT_HISTORY, &request).await?;
        Ok(History::of(answer, &self.session().account))
    }

    /// Returns a page of the account's conversations, the latest active first: the first page, or the
    /// [`next`](Conversations::next) of another.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// let mut page = client.conversations(None).await?;
    /// loop {
    ///     for conversation in &page.conversations {
    ///         println!("{:?}: {} unread", conversation.place, conversation.unread);
    ///     }
    ///     let Some(next) = page.next else { break };
    ///     page = client.conversations(Some(&next)).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`] when the talk deadline passes; [`Error::Rejected`] where `page` is no
    /// page, or the server is too old; [`Error::Closed`].
    pub async fn conversations(&self, page: Option<&str>) -> Result<Conversations, Error> {
        let page = page.unwrap_or_default().to_owned();
        let request = ConversationsReq { page, limit: 0 };
        let answer: ConversationsResp = self.read(command::CHAT_CONVERSATIONS, &request).await?;
        Ok(Conversations::of(answer, &self.session().account))
    }

    pub(super) async fn read<A: prost::Message + Default>(
        &self,
        command: &'static str,
        request: &impl prost::Message,
    ) -> Result<A, Error> {
        let body = Bytes::from(request.encode_to_vec());
        let (dest, repeat) = (String::new(), Repeat::Freely);
        let ask = Ask { command: command.into(), dest, body, text: None, repeat };
        self.call(Lane::Alone(new_id()), ask).await
    }
}
