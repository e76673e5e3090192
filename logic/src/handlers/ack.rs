//! Acknowledgement of messages.

use imago_proto::{
    ConversationId, Seq,
    link::{self, Forward},
    msg::{Cursor, MessageAckReq},
};

use super::limits::{CURSORS_MAX, at_most};
use crate::{Context, Reject, store::Given};

/// Answers `chat.talk.ack`: by sequence, where the client knows sequences, or by message id. The gateway has
/// translated the id into the parts that the session was given up to that message.
pub(super) async fn ack(ctx: Context, req: MessageAckReq) -> Result<(), Reject> {
    at_most("cursors", req.cursors.len(), CURSORS_MAX)?;
    let mut given = acknowledged_by(ctx.request());
    given.extend(req.cursors.into_iter().map(|Cursor { conversation, seq }| Given {
        conversation: ConversationId::from(conversation),
        from: Seq(0),
        to: Seq(seq),
    }));
    acknowledge(&ctx, given).await
}

/// Returns the parts that a request's message id acknowledges.
pub(super) fn acknowledged_by(request: &Forward) -> Vec<Given> {
    let acked = request.acked.iter().map(|acked| Given {
        conversation: ConversationId::from(acked.conversation.as_str()),
        from: Seq(acked.from),
        to: Seq(acked.to),
    });
    acked.collect()
}

/// Moves the cursors of the calling device, and notes them for its gateway.
pub(super) async fn acknowledge(ctx: &Context, given: Vec<Given>) -> Result<(), Reject> {
    if given.is_empty() {
        return Ok(());
    }
    let cursors = ctx.store().ack(&ctx.device(), given).await?;
    let acked = cursors.into_iter().map(|(conversation, seq)| link::Given {
        conversation: conversation.to_string(),
        to: seq.0,
        ..link::Given::default()
    });
    ctx.note(|notes| notes.acked = acked.collect());
    Ok(())
}
