//! How a real gateway answers upgrade requests and frames that are not as RFC 6455 has them. The whole
//! tables stand beside the code: `gateway/src/upgrade/tests.rs` and `gateway/src/connection/tests/frames.rs`.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use bytes::Bytes;
use imago_proto::Opcode;
use imago_tests::{RawClient, Server, World};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const REQUEST: &str = "GET /im HTTP/1.1\r\nHost: imago\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The head of the answer to a request.
async fn answer(gateway: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address("ws")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(Duration::from_secs(15), stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_frames_that_break_the_rfc_are_told_so() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    gateway.ready().await;
    logic.ready().await;

    for (from, to, status) in [
        ("GET", "GET", 101),
        ("Host: imago\r\n", "", 400),
        ("Host: imago", "Host: imago\r\nHost: imago", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "abc", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("Version: 13", "Version: 8", 426),
        ("Upgrade: websocket\r\n", "", 426),
        ("Host", "Content-Length: 5\r\nHost", 400),
        ("Host", &format!("X: {}\r\nHost", "x".repeat(9000)), 431),
    ] {
        let head = answer(&gateway, &REQUEST.replacen(from, to, 1)).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{from:?} as {to:?}: {head}");
        let names_version = head.contains("\r\nSec-WebSocket-Version: 13\r\n");
        assert_eq!(names_version, status != 101, "{head}");
    }

    let token = world.token("alice");
    for (opcode, payload, code) in [
        (Opcode::Close, &b"\x03"[..], 1002),
        (Opcode::Close, b"\x03\xed", 1002),
        (Opcode::Close, b"\x03\xe8\xff", 1007),
        (Opcode::Close, b"\x0f\xa0bye", 4000),
        (Opcode::Text, b"\xce\xba\xed\xa0\x80", 1007),
    ] {
        let mut client = RawClient::login(&gateway, &token).await;
        client.frame(opcode, Bytes::from_static(payload)).await;
        assert_eq!(client.closed().await, Some(code), "{opcode:?} {payload:?}");
    }
    // A length of 16 bits that 7 would hold, and one with the first of 64 bits.
    for frame in
        [&b"\x82\xfe\0\x08\x01\x02\x03\x04"[..], b"\x82\xff\x80\0\0\0\0\0\0\0\x01\x02\x03\x04"]
    {
        let mut client = RawClient::login(&gateway, &token).await;
        client.bytes(frame).await;
        assert_eq!(client.closed().await, Some(1002));
    }
}
