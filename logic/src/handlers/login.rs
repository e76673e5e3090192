//! Login and logout. The gateway has checked the token and told the session already.

use std::time::Duration;

use imago_proto::{
    link::Mark,
    msg::{LoginReq, LoginResp},
};
use tokio::time::timeout;

use crate::{Context, Reject, store::Need};

/// How long a login waits for the message store.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// Answers `login.signin`. Older sessions of the same device are ended by the directory.
///
/// A login succeeds even if the store does not answer. Its session then has no mark, so that everything its
/// device has not acknowledged counts as missing.
pub(super) async fn sign_in(ctx: Context, _: LoginReq) -> Result<LoginResp, Reject> {
    if let Some(mark) = enter(&ctx).await {
        ctx.note(|notes| notes.mark = Some(mark));
    }
    let session = ctx.session();
    Ok(LoginResp { channel_id: session.channel().to_owned(), account: session.account.to_string() })
}

async fn enter(ctx: &Context) -> Option<Mark> {
    if ctx.store_state().lacks(Need::Writing) {
        return None;
    }
    let device = ctx.device();
    match timeout(STORE_PATIENCE, ctx.store().enter(&device)).await {
        Ok(Ok(mark)) => Some(mark),
        Ok(Err(error)) => {
            tracing::warn!(%error, "login without the message store");
            None
        }
        Err(_) => {
            tracing::warn!(patience = ?STORE_PATIENCE, "login without the message store: no answer");
            None
        }
    }
}

/// Answers `login.signout`; the gateway closes the connection after the answer.
pub(super) async fn sign_out(_: Context, (): ()) -> Result<(), Reject> {
    Ok(())
}
