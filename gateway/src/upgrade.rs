//! The upgrade request of a WebSocket client (RFC 6455 §4.2), and its answer.
//!
//! Any path and query will do; offered subprotocols and extensions are not taken, and the `Origin` of a
//! web page does not count: a client shows who it is by its token, which no browser sends by itself. An
//! [`Authenticator`](crate::Authenticator) sees the request, and may have rules of its own.

mod head;
mod request;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub use self::head::UpgradeRequest;
use self::request::{Refusal, Request, read_request};
use crate::codec::linger;

/// A connection that has become a WebSocket.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) request: UpgradeRequest,
    /// What came after the request.
    pub(crate) received: BytesMut,
}

/// Answers the upgrade request.
///
/// # Errors
/// With the reason, when there will be no WebSocket; the client has been told.
pub(crate) async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Upgraded, String> {
    let mut buffer = BytesMut::with_capacity(1024);
    let (key, request) = loop {
        match read_request(&buffer) {
            Ok(Some(Request { key, len })) => {
                let request = UpgradeRequest::new(buffer.get(..len).unwrap_or_default());
                buffer.advance(len);
                break (key, request);
            }
            Ok(None) => {}
            Err(refusal) => {
                refuse(stream, &refusal).await;
                return Err(refusal.why);
            }
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return Err("closed before the upgrade request".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(&key)
    );
    stream.write_all(answer.as_bytes()).await.map_err(|error| error.to_string())?;
    Ok(Upgraded { request, received: buffer })
}

/// Tells a client that its request did not come in time.
pub(crate) async fn too_late(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    refuse(stream, &Refusal::new("408 Request Timeout", "no upgrade request in time")).await;
}

/// Tells a client that it has to go before its request has come, without waiting for it to hear that.
pub(crate) async fn turn_away(stream: &mut (impl AsyncWrite + Unpin), why: &str) {
    answer(stream, &Refusal::new("503 Service Unavailable", why)).await;
}

async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), refusal: &Refusal) {
    answer(stream, refusal).await;
    linger(stream).await;
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), refusal: &Refusal) {
    let body = format!("this port speaks WebSocket: {}\n", refusal.why);
    let answer = format!(
        "HTTP/1.1 {}\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
         Sec-WebSocket-Version: 13\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        refusal.status,
        body.len()
    );
    // The client may be gone already.
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[cfg(test)]
mod tests;
