//! Acknowledgement of messages.

use imago_proto::{ConversationId, Seq, msg::MessageAckReq};

use crate::{Context, Reject};

/// Cursors in one request.
const CURSORS_MAX: usize = 1000;

/// Answers `chat.talk.ack`: cumulative by message id, and by sequence where the client knows them.
pub(super) async fn ack(ctx: Context, req: MessageAckReq) -> Result<(), Reject> {
    if req.cursors.len() > CURSORS_MAX {
        let got = req.cursors.len();
        return Err(Reject::invalid(format!("cursors: expected at most {CURSORS_MAX}, got {got}")));
    }
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
