//! What a client receives: messages, events, pushes.

use tokio::sync::broadcast;

use super::Client;
use crate::{Events, Message, Messages, Pushes};

impl Client {
    /// Returns the received messages. See [`Messages`] for when they count as consumed.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use futures::StreamExt;
    ///
    /// let mut messages = client.messages();
    /// while let Some(message) = messages.next().await {
    ///     println!("{}: {}", message.sender, message.body);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn messages(&self) -> Messages {
        Messages::new(self.inner.messages.clone(), self.inner.marks.clone(), self.inner.acks)
    }

    /// Returns what happens to the account's groups, from now on. Every stream gets every event.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use imago_client::Event;
    ///
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         Event::GroupJoined { group, account } => println!("{account} joined {group}"),
    ///         Event::GroupLeft { group, account } => println!("{account} left {group}"),
    ///         _ => println!("groups have changed: {:?}", client.conversations(None).await?),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        match self.inner.events.upgrade() {
            Some(events) => Events::new(events.subscribe()),
            // Closed: nothing will happen.
            None => Events::new(broadcast::channel(1).1),
        }
    }

    /// Acknowledges a message and all before it in its conversation: needed with
    /// [`AckMode::Manual`](crate::AckMode::Manual), harmless otherwise. The server learns it with the next batch.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), imago_client::Error> {
    /// use futures::StreamExt;
    /// use imago_client::{AckMode, Client};
    ///
    /// let client = Client::builder(["ws://127.0.0.1:8000"]).acks(AckMode::Manual).connect().await?;
    /// while let Some(message) = client.messages().next().await {
    ///     // Stored by the application first: a crash before the acknowledgement delivers it again.
    ///     client.ack(&message);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ack(&self, message: &Message) {
        self.inner.marks.put(&message.conversation, message.seq);
    }

    /// Returns the pushes of all commands that are not the client's own, from now on.
    ///
    /// Every stream gets every push. Pushes are not stored: what is pushed while the client is away is not delivered
    /// later.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use futures::StreamExt;
    /// use imago_proto::msg::MessagePush;
    ///
    /// let mut pushes = client.pushes();
    /// while let Some(push) = pushes.next().await {
    ///     if push.command == "my.shout" {
    ///         let shout: MessagePush = push.decode()?;
    ///         println!("{} shouts {}", shout.sender, shout.body);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn pushes(&self) -> Pushes {
        match self.inner.pushes.upgrade() {
            Some(pushes) => Pushes::new(pushes.subscribe()),
            // The client is closed: the stream is at its end.
            None => Pushes::new(broadcast::channel(1).1),
        }
    }
}
