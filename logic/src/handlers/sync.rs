//! All messages past a client's sequences, in one command.

use imago_proto::{
    ConversationId, Seq,
    msg::{MessagePush, SyncReq, SyncResp},
};

use super::{
    limits::{CURSORS_MAX, at_most, wanted},
    push_of,
};
use crate::{Context, Reject};

/// Messages in one answer.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 500;

/// Answers `chat.sync`.
pub(super) async fn sync(ctx: Context, req: SyncReq) -> Result<SyncResp, Reject> {
    at_most("cursors", req.cursors.len(), CURSORS_MAX)?;
    let limit = wanted("limit", req.limit, LIMIT, LIMIT_MAX)?;
    let cursors = req.cursors.into_iter();
    let cursors =
        cursors.map(|cursor| (ConversationId::from(cursor.conversation), Seq(cursor.seq)));
    // One message more tells whether others follow.
    let found = ctx.store().sync(&ctx.device(), cursors.collect(), limit + 1).await?;
    let some = found.len();
    let mut messages: Vec<MessagePush> = found.into_iter().take(limit).map(push_of).collect();
    let fit = super::fitting(&messages);
    messages.truncate(fit);
    // Clients that know this command acknowledge by sequence: the gateway need not record what it gives.
    Ok(SyncResp { more: messages.len() < some, messages })
}
