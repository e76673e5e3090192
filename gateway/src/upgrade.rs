//! The upgrade request of a WebSocket client (RFC 6455 §4.2), and its answer.
//!
//! Any path and query will do; offered subprotocols and extensions are not taken.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::transport::linger;

/// Bytes of an upgrade request at most.
const REQUEST_MAX: usize = 8 * 1024;
/// Headers of an upgrade request at most.
const HEADERS_MAX: usize = 64;

/// Why there will be no WebSocket, in the words of HTTP.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    why: String,
}

impl Refusal {
    fn new(status: &'static str, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new("400 Bad Request", why)
    }

    fn upgrade(why: impl Into<String>) -> Self {
        Self::new("426 Upgrade Required", why)
    }
}

/// Answers the upgrade request. Gives back what came after it.
///
/// # Errors
/// With the reason, when there will be no WebSocket; the client has been told.
pub(crate) async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<BytesMut, String> {
    let mut buffer = BytesMut::with_capacity(1024);
    let key = loop {
        match read_request(&buffer) {
            Ok(Some(Request { key, len })) => {
                buffer.advance(len);
                break key;
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
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(answer.as_bytes()).await.map_err(|error| error.to_string())?;
    Ok(buffer)
}

/// Tells a client that its request did not come in time.
pub(crate) async fn too_late(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    refuse(stream, &Refusal::new("408 Request Timeout", "no upgrade request in time")).await;
}

/// Tells a client that it has to go before its request has come, without waiting for it to hear that.
pub(crate) async fn turn_away(stream: &mut (impl AsyncWrite + Unpin), why: &str) {
    answer(stream, &Refusal::new("503 Service Unavailable", why)).await;
}

/// A request that may become a WebSocket.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// What proves in the answer that we understood.
    key: String,
    /// Bytes of the request.
    len: usize,
}

/// `None` where more bytes have to come.
fn read_request(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let too_large = || {
        let why = format!("request over {REQUEST_MAX} bytes or {HEADERS_MAX} headers");
        Refusal::new("431 Request Header Fields Too Large", why)
    };
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= REQUEST_MAX => len,
        Ok(httparse::Status::Partial) if bytes.len() < REQUEST_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => {
            return Err(Refusal::bad(format!("expected an HTTP request: {error}")));
        }
    };
    if !has_token(request.headers, "Upgrade", "websocket") {
        return Err(Refusal::upgrade("expected the header Upgrade: websocket"));
    }
    if !has_token(request.headers, "Connection", "Upgrade") {
        return Err(Refusal::upgrade("expected the header Connection: Upgrade"));
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(Refusal::bad("expected a GET request of HTTP/1.1"));
    }
    if !has_token(request.headers, "Sec-WebSocket-Version", "13") {
        return Err(Refusal::upgrade("expected the header Sec-WebSocket-Version: 13"));
    }
    let mut keys = values(request.headers, "Sec-WebSocket-Key");
    match (keys.next().map(str::trim), keys.next()) {
        (Some(key), None) if !key.is_empty() => Ok(Some(Request { key: key.to_owned(), len })),
        _ => Err(Refusal::bad("expected one header Sec-WebSocket-Key")),
    }
}

/// Values of all headers of a name; those that are not text are nothing that we look for.
fn values<'a>(headers: &'a [httparse::Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
}

fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
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
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3, with what browsers and proxies add.
    const REQUEST: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\nupgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    async fn answer_to(request: &[u8]) -> (String, Result<BytesMut, String>) {
        let (mut client, mut server) = tokio::io::duplex(64 << 10);
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        let upgraded = upgrade(&mut server).await;
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (answer, upgraded)
    }

    #[tokio::test]
    async fn an_upgrade_is_answered_without_protocols_and_extensions() {
        let request = [REQUEST.as_bytes(), b"first frame"].concat();
        let (answer, rest) = answer_to(&request).await;
        assert_eq!(
            answer,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        assert_eq!(rest.unwrap(), "first frame");
    }

    #[tokio::test]
    async fn what_is_no_upgrade_is_told_so() {
        let no_upgrade = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned();
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(REQUEST_MAX));
        for (request, status) in [
            (no_upgrade, "426 "),
            (REQUEST.replace("keep-alive, Upgrade", "keep-alive"), "426 "),
            (REQUEST.replace("Version: 13", "Version: 8"), "426 "),
            (REQUEST.replace("GET", "POST"), "400 "),
            (REQUEST.replace("HTTP/1.1", "HTTP/1.0"), "400 "),
            (REQUEST.replace("Sec-WebSocket-Key", "Sec-WebSocket-No-Key"), "400 "),
            ("\u{2}\0\0\0\u{5}hello".to_owned(), "400 "),
            (many, "431 "),
            (long, "431 "),
        ] {
            let (answer, upgraded) = answer_to(request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.contains("this port speaks WebSocket"), "{answer}");
            assert!(upgraded.is_err());
        }
    }

    #[tokio::test]
    async fn a_request_may_come_byte_by_byte() {
        let (mut client, server) = tokio::io::duplex(1);
        let sent = async {
            for byte in REQUEST.as_bytes() {
                client.write_all(&[*byte]).await.unwrap();
            }
            let mut answer = [0; 12];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 101");
            client.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let served = async {
            let mut server = server;
            upgrade(&mut server).await.unwrap();
        };
        tokio::join!(sent, served);
    }

    #[test]
    fn half_a_request_waits_for_the_rest() {
        for len in 0..REQUEST.len() {
            assert_eq!(read_request(&REQUEST.as_bytes()[..len]), Ok(None), "{len}");
        }
    }
}
