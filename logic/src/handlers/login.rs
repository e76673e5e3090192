//! Login and logout. The gateway has checked the token and told the session before.

use imago_proto::msg::{LoginReq, LoginResp};

use crate::{Context, Reject};

/// Answers `login.signin`. Older sessions of the same device are ended by the directory.
pub(super) async fn sign_in(ctx: Context, _: LoginReq) -> Result<LoginResp, Reject> {
    let session = ctx.session();
    Ok(LoginResp { channel_id: session.channel().to_owned(), account: session.account.to_string() })
}

/// Answers `login.signout`; the gateway closes the connection after the answer.
pub(super) async fn sign_out(_: Context, (): ()) -> Result<(), Reject> {
    Ok(())
}
