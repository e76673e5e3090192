//! The commands that every cluster answers.

mod ack;
mod login;
mod offline;
mod talk;

use imago_proto::command;

use crate::{
    Reject, Router,
    layer::{Recover, Timing},
    store::StoreError,
};

/// The built-in commands, recovered and timed. Add your own with [`Router::handle`].
pub fn router() -> Router {
    Router::new()
        .layer(Recover)
        .layer(Timing)
        .handle(command::LOGIN_SIGNIN, login::sign_in)
        .handle(command::LOGIN_SIGNOUT, login::sign_out)
        .handle(command::CHAT_USER_TALK, talk::user_talk)
        .handle(command::CHAT_TALK_ACK, ack::ack)
        .handle(command::CHAT_OFFLINE_INDEX, offline::index)
        .handle(command::CHAT_OFFLINE_CONTENT, offline::content)
}

impl From<StoreError> for Reject {
    /// The caller learns whether to retry; the log, not the caller, learns what failed.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::failed("busy, try again later"),
            error => {
                tracing::warn!(%error, "store failed");
                Self::failed("the message store failed, try again later")
            }
        }
    }
}

/// A field within its limit, in characters (client wire, section 6).
fn within(field: &str, text: &str, limit: usize) -> Result<(), Reject> {
    let len = text.chars().count();
    if len > limit {
        return Err(Reject::invalid(format!(
            "{field}: expected at most {limit} characters, got {len}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
