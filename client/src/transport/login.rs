//! Opens a connection and logs in on it.

use std::time::Duration;

use bytes::Bytes;
use imago_proto::{
    LogicPacket, Packet, Status, command,
    msg::{ErrorResp, LoginReq, LoginResp},
};
use prost::Message;
use tokio::time::{Instant, timeout_at};

use super::{Connection, Endpoint, Lost, Tasks};
use crate::{Session, error::is_temporary};

/// How long a gateway may take to accept a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection on which the login has succeeded.
#[derive(Debug)]
pub(crate) struct Online {
    pub(crate) session: Session,
    pub(crate) connection: Connection,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// Another try may succeed.
    Failed(String),
    /// The same login will be refused again.
    Refused { status: u32, message: String },
}

/// Opens a connection to `gateway` and logs in.
pub(crate) async fn log_in(
    gateway: &Endpoint,
    login: &LoginReq,
    sequence: u32,
    tasks: &Tasks,
) -> Result<Online, LoginError> {
    let failed = |lost: Lost| LoginError::Failed(format!("{gateway}: {}", lost.why));
    let opened = timeout_at(Instant::now() + OPEN_TIMEOUT, gateway.open(tasks)).await;
    let mut connection = opened
        .unwrap_or_else(|_| Err(Lost::new(format!("no connection within {OPEN_TIMEOUT:?}"))))
        .map_err(failed)?;
    let body = Bytes::from(login.encode_to_vec());
    let request = LogicPacket::request(command::LOGIN_SIGNIN, sequence, "", body);
    let gone = || failed(Lost::closed(None, ""));
    connection.outgoing.send(request.encode()).await.map_err(|_| gone())?;
    loop {
        let packet = connection.incoming.recv().await.ok_or_else(gone)?.map_err(failed)?;
        // A heartbeat is no answer.
        let Packet::Logic(answer) = packet else { continue };
        let session = judge(gateway, &answer)?;
        return Ok(Online { session, connection });
    }
}

fn judge(gateway: &Endpoint, answer: &LogicPacket) -> Result<Session, LoginError> {
    let status = answer.header.status;
    if status == Status::Success.code() {
        let login = LoginResp::decode(answer.body.clone())
            .map_err(|error| LoginError::Failed(format!("{gateway}: login answer: {error}")))?;
        let LoginResp { channel_id, account } = login;
        return Ok(Session { account, channel_id, gateway: gateway.to_string() });
    }
    let message = ErrorResp::decode(answer.body.clone()).unwrap_or_default().message;
    if is_temporary(status) {
        return Err(LoginError::Failed(format!("{gateway}: status {status}: {message}")));
    }
    Err(LoginError::Refused { status, message })
}
