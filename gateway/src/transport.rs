//! The two transports of clients behind one face: frames in, frames out.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use imago_container::io::Chunks;
use imago_proto::{Frame, FrameError, Limits, Opcode, tcp, ws};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    handshake::server::create_response,
    http::{HeaderName, HeaderValue, Request},
};

/// Bytes of an upgrade request at most.
const REQUEST_MAX: usize = 8 * 1024;
/// Headers of an upgrade request at most.
const HEADERS_MAX: usize = 64;

/// How frames look on the wire.
pub(crate) enum Framing {
    /// RFC 6455.
    WebSocket(ws::Decoder),
    /// Opcode, length, payload.
    Tcp(tcp::Decoder),
}

impl Framing {
    pub(crate) fn tcp(packet_max: usize) -> Self {
        Self::Tcp(tcp::Decoder::new(Limits { payload: packet_max }))
    }

    fn web_socket(packet_max: usize) -> Self {
        Self::WebSocket(ws::Decoder::new(ws::Peer::Client, Limits { payload: packet_max }))
    }

    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self {
            Self::WebSocket(decoder) => decoder.decode(buffer),
            Self::Tcp(decoder) => decoder.decode(buffer),
        }
    }

    /// Lays a frame out for writing.
    pub(crate) fn encode(&self, frame: &Frame, chunks: &mut Chunks) {
        let (opcode, len) = (frame.opcode, frame.payload.len());
        chunks.push(
            |head| match self {
                Self::WebSocket(_) => ws::put_header(opcode, len, head),
                Self::Tcp(_) => {
                    head.put_u8(opcode as u8);
                    // Fits: what is sent is capped far below 4 GiB.
                    head.put_u32(len as u32);
                }
            },
            &frame.payload,
        );
    }

    /// The frame that ends a connection. The TCP transport's carries neither code nor reason.
    pub(crate) fn close(&self, code: u16, reason: &str) -> Frame {
        let payload = match self {
            Self::WebSocket(_) => ws::close_payload(code, reason),
            Self::Tcp(_) => Bytes::new(),
        };
        Frame { opcode: Opcode::Close, payload }
    }
}

/// Answers the upgrade request of a WebSocket client. Any path and query will do; offered
/// subprotocols and extensions are not taken. Gives back what came after the request.
///
/// # Errors
/// With the reason, when there will be no WebSocket; the client has been told.
pub(crate) async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    packet_max: usize,
    patience: Duration,
) -> Result<(Framing, BytesMut), String> {
    let shaken = tokio::time::timeout(patience, async {
        let (head, rest) = read_head(stream).await?;
        let response = match respond(&head) {
            Ok(response) => response,
            Err(why) => {
                refuse(stream, &why).await;
                return Err(why);
            }
        };
        stream.write_all(&response).await.map_err(|error| error.to_string())?;
        Ok((Framing::web_socket(packet_max), rest))
    });
    shaken.await.unwrap_or_else(|_| Err("no upgrade request in time".to_owned()))
}

async fn read_head(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(BytesMut, BytesMut), String> {
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = buffer.split_off(end + 4);
            return Ok((buffer, rest));
        }
        if buffer.len() >= REQUEST_MAX {
            let why = format!("expected an upgrade request of at most {REQUEST_MAX} bytes");
            refuse(stream, &why).await;
            return Err(why);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return Err("closed before the upgrade request".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The bytes of the 101 answer.
fn respond(head: &[u8]) -> Result<Vec<u8>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(head).map_err(|error| format!("expected an HTTP request: {error}"))?;
    let mut request = Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri("/")
        .version(tokio_tungstenite::tungstenite::http::Version::HTTP_11);
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            request = request.header(name, value);
        }
    }
    let request = request.body(()).map_err(|error| error.to_string())?;
    let response = create_response(&request)
        .map_err(|error| format!("expected a WebSocket upgrade (RFC 6455 section 4): {error}"))?;
    let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), why: &str) {
    let body = format!("this port speaks WebSocket: {why}\n");
    let answer = format!(
        "HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nUpgrade: websocket\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // The client may be gone already.
    let _ = stream.write_all(answer.as_bytes()).await;
    linger(stream).await;
}

/// Ends a connection so that the last bytes arrive: closing while unread bytes wait would reset
/// it, and the client might never see the answer (RFC 1122 §4.2.2.13).
pub(crate) async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    /// A client that keeps sending is not listened to for longer.
    const PATIENCE: Duration = Duration::from_secs(1);
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut sink = [0; 1024];
    let drained = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(PATIENCE, drained).await;
}
