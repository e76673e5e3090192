//! Acknowledgement of messages.

use imago_proto::{ConversationId, Seq, msg::MessageAckReq};

use super::limits::{CURSORS_MAX, at_most};
use crate::{Context, Reject};

/// Answers `chat.talk.ack`: cumulative by message id, and by sequence where the client knows them.
pub(super) async fn ack(ctx: Context, req: MessageAckReq) -> Result<(), Reject> {
    at_most("cursors", req.cursors.len(), CURSORS_MAX)?;
    let session = ctx.session();
    if req.message_id > 0 {
        ctx.store().ack_until(&session.app, &session.account, req.message_id).await?;
    }
    if !req.cursors.is_empty() {
        let cursors = req.cursors.into_iter();
        let cursors =
            cursors.map(|cursor| (ConversationId::from(cursor.conversation), Seq(cursor.seq)));
        ctx.store().ack_cursors(&session.app, &session.account, cursors.collect()).await?;
    }
    Ok(())
}
