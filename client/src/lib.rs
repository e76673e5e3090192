//! Client of an Imago cluster: connect, talk, receive every message once and in order.
//!
//! ```no_run
//! # async fn run() -> Result<(), imago_client::Error> {
//! use futures::StreamExt;
//! use imago_client::Client;
//!
//! let client = Client::builder(["ws://127.0.0.1:8000"]).token("a token").connect().await?;
//! let receipt = client.talk("bob", "hello").await?;
//! println!("stored as number {} of its conversation", receipt.seq);
//! let mut messages = client.messages();
//! while let Some(message) = messages.next().await {
//!     println!("{}: {}", message.sender, message.body);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A group is created by [`Client::group_create`] and talked to by [`Client::group_talk`]; its messages
//! come in the same stream, with their [`group`](Message::group). [`Client::events`] tells what happens to groups.
//!
//! A command that an application has added to the logic servers is called by [`Client::request`], and its pushes come
//! from [`Client::pushes`].
//!
//! A [`Client`] keeps itself connected: it reconnects, with jittered and growing pauses, to the
//! gateways it knows, repeats what was not answered, and fetches what it missed. What it does at
//! the moment is its [`State`].

mod backoff;
mod builder;
mod client;
mod command;
mod core;
mod driver;
mod error;
mod event;
mod group;
mod history;
mod inbox;
mod marks;
mod message;
mod options;
mod outbox;
mod push;
mod request;
mod state;
mod stream;
mod sync;
mod timers;
mod transport;

pub use builder::Builder;
pub use client::Client;
pub use error::Error;
pub use event::{Event, Events};
pub use group::{Group, Member, NewGroup};
pub use history::{Conversation, Conversations, History, Place, Range};
pub use imago_proto::{Account, ConversationId, GroupId, Seq};
pub use message::{Message, Outgoing, Receipt, content_type};
pub use options::AckMode;
pub use push::{Push, Pushes};
pub use request::{FromBody, Request, Response};
pub use state::{CloseReason, Session, State};
pub use stream::Messages;
