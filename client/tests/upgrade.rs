//! Which answers to its upgrade request the client takes: a table by RFC 6455 §4.1.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use imago_client::{Client, Error};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The answer to an upgrade request that is taken.
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: KEY\r\n\r\n";

/// Paragraph, the text of the answer that is replaced, and with what.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, &str)] = &[
    ("§4.1 1: another status", "101 Switching Protocols", "200 OK"),
    ("§4.1 1: another place", "101 Switching Protocols", "301 Moved\r\nLocation: ws://127.0.0.1:1/"),
    ("§4.1 2: no Upgrade", "Upgrade: websocket\r\n", ""),
    ("§4.1 2: another protocol", "Upgrade: websocket", "Upgrade: h2c"),
    ("§4.1 3: no Connection", "Connection: Upgrade\r\n", ""),
    ("§4.1 3: without upgrade", "Connection: Upgrade", "Connection: close"),
    ("§4.1 4: no Accept", "Sec-WebSocket-Accept: KEY\r\n", ""),
    ("§4.1 4: that of another key", "KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ("§4.1 4: an empty one", "KEY", ""),
    ("§4.1 5: an extension that was not asked for", "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
    ("§4.1 6: a subprotocol that was not asked for", "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
    ("9112 §2.3: an older HTTP", "HTTP/1.1", "HTTP/1.0"),
];

/// Answers each upgrade request with `answer`, and then listens for a moment; whether something came.
async fn serve(listener: TcpListener, answer: String) -> bool {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let answer = answer.replace("KEY", &derive_accept_key(key.as_bytes()));
    stream.write_all(answer.as_bytes()).await.unwrap();
    // A client that takes the answer logs in.
    matches!(stream.read(&mut [0; 1]).await, Ok(1))
}

/// Whether a client logs in after this answer.
async fn is_taken(answer: &str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(serve(listener, answer.to_owned()));
    let client = Client::builder([url]).token("x").connect_timeout(Duration::from_millis(300));
    let refused = client.connect().await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused}");
    served.await.unwrap()
}

#[tokio::test]
async fn an_answer_is_taken_that_is_as_the_rfc_says() {
    assert!(is_taken(ANSWER).await);
    let insensitive = ANSWER.replace("websocket", "WebSocket").replace(": Upgrade", ": upgrade");
    assert!(is_taken(&insensitive).await);
}

#[tokio::test]
async fn another_answer_fails_the_connection() {
    let mut wrong = Vec::new();
    for (why, from, to) in REFUSED {
        assert!(ANSWER.contains(from), "{why}");
        if is_taken(&ANSWER.replace(from, to)).await {
            wrong.push(*why);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
