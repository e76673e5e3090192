//! Which upgrade requests are taken: a table by the paragraphs of RFC 6455 §4, RFC 9110 and RFC 9112.

use super::{
    request::{HEADERS_MAX, REQUEST_MAX},
    *,
};

/// The example of RFC 6455 §1.3, with what browsers and proxies add.
const REQUEST: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\nupgrade: WebSocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// What a request is answered.
const TAKEN: u16 = 101;
const BAD: u16 = 400;
const OTHER: u16 = 426;
const LARGE: u16 = 431;

async fn answer_to(request: &[u8]) -> (String, Result<Upgraded, String>) {
    let (mut client, mut server) = tokio::io::duplex(64 << 10);
    client.write_all(request).await.unwrap();
    client.shutdown().await.unwrap();
    let upgraded = upgrade(&mut server).await;
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    (answer, upgraded)
}

/// What is changed in the example: the text that is replaced, and what it is replaced with.
type Change = (&'static str, &'static str);

/// Paragraph, change of the example, and the status of the answer.
#[rustfmt::skip]
const REQUEST_LINES: &[(&str, Change, u16)] = &[
    ("6455 §4.2.1 1: a GET request", ("GET", "GET"), TAKEN),
    ("6455 §4.2.1 1: no other method", ("GET", "POST"), BAD),
    ("6455 §4.2.1 1: HEAD neither", ("GET", "HEAD"), BAD),
    ("9110 §9.1: methods are case-sensitive", ("GET", "get"), BAD),
    ("6455 §4.2.1 1: HTTP/1.1 or higher", ("HTTP/1.1", "HTTP/1.0"), BAD),
    ("6455 §4.2.1 1: not of a version that is framed otherwise", ("HTTP/1.1", "HTTP/2.0"), BAD),
    ("9112 §2.3: a version is HTTP/ and two digits", ("HTTP/1.1", "HTTP/11"), BAD),
    ("9112 §2.3: in capitals", ("HTTP/1.1", "http/1.1"), BAD),
    ("9113 §3.4: the preface of HTTP/2", ("GET /chat?room=1 HTTP/1.1", "PRI * HTTP/2.0"), BAD),
    ("6455 §4.2.1 1: any resource name", ("/chat?room=1", "/"), TAKEN),
    ("6455 §4.2.1 1: with escapes", ("/chat?room=1", "/a%20b?c=%00"), TAKEN),
    ("6455 §3: no fragment", ("/chat?room=1", "/chat#room"), BAD),
    ("6455 §4.1 2: an absolute http URI", ("/chat?room=1", "http://example.com/chat"), TAKEN),
    ("6455 §4.1 2: or https", ("/chat?room=1", "https://example.com"), TAKEN),
    ("6455 §4.1 2: in any case", ("/chat?room=1", "HTTP://example.com/chat"), TAKEN),
    ("6455 §4.1 2: no other scheme", ("/chat?room=1", "ftp://example.com/chat"), BAD),
    ("9110 §4.2.1: an http URI has a host", ("/chat?room=1", "http:///chat"), BAD),
    ("9112 §3.2.3: an authority is for CONNECT", ("/chat?room=1", "example.com:80"), BAD),
    ("9112 §3.2.4: an asterisk is for OPTIONS", ("/chat?room=1", "*"), BAD),
    ("9112 §3.2.1: a path begins with a slash", ("/chat?room=1", "chat"), BAD),
    ("9112 §3: a target has no spaces", ("/chat?room=1", "/chat room"), BAD),
    ("9112 §2.2: empty lines before the request line may be skipped", ("GET /", "\r\nGET /"), TAKEN),
];

#[rustfmt::skip]
const HOSTS: &[(&str, Change, u16)] = &[
    ("6455 §4.2.1 2: a Host", ("Host: example.com", "HOST:example.com:8000"), TAKEN),
    ("9110 §7.2: an IPv4 address", ("example.com", "192.0.2.1:8000"), TAKEN),
    ("9110 §7.2: an IPv6 address", ("example.com", "[2001:db8::1]:8000"), TAKEN),
    ("9112 §5.1: white space around a value is not of it", ("example.com", " \texample.com \t"), TAKEN),
    ("6455 §4.2.1 2: none", ("Host: example.com\r\n", ""), BAD),
    ("6455 §4.2.1 2: an empty one is no authority", ("Host: example.com", "Host:"), BAD),
    ("6455 §4.2.1 2: nor one of white space", ("Host: example.com", "Host:  \t"), BAD),
    ("9112 §3.2: two", ("Host: example.com", "Host: example.com\r\nHost: example.com"), BAD),
    ("9112 §3.2: two, one of them no text", ("Host: example.com", "Host: example.com\r\nHost: ÿ"), BAD),
    ("9112 §3.2: a list", ("example.com", "example.com, example.org"), BAD),
    ("9110 §7.2: a URI", ("example.com", "http://example.com"), BAD),
    ("9110 §7.2: a user", ("example.com", "me@example.com"), BAD),
    ("9110 §7.2: a port that is none", ("example.com", "example.com:80a"), BAD),
    ("9110 §7.2: a port beyond all", ("example.com", "example.com:65536"), BAD),
    ("9110 §7.2: a port without a host", ("example.com", ":80"), BAD),
    ("3986 §3.2.2: brackets without an address", ("example.com", "[]:80"), BAD),
    ("3986 §3.2.2: an open bracket", ("example.com", "[::1"), BAD),
    ("3986 §3.2.2: an empty port may be left away", ("example.com", "example.com:"), TAKEN),
];

#[rustfmt::skip]
const UPGRADES: &[(&str, Change, u16)] = &[
    ("6455 §4.2.1 3: websocket in any case", ("WebSocket", "wEBsOCKET"), TAKEN),
    ("9110 §7.8: one of a list", ("WebSocket", "h2c , websocket"), TAKEN),
    ("9110 §5.3: one of two lists", ("upgrade: WebSocket", "Upgrade: h2c\r\nUpgrade: websocket"), TAKEN),
    ("9110 §5.6.1: with empty members", ("WebSocket", ",,websocket,"), TAKEN),
    ("6455 §4.2.1 3: none", ("upgrade: WebSocket\r\n", ""), OTHER),
    ("6455 §4.2.1 3: another protocol", ("WebSocket", "h2c"), OTHER),
    ("9110 §7.8: another version of it", ("WebSocket", "websocket/14"), OTHER),
    ("9110 §7.8: a word that contains it", ("WebSocket", "my-websocket"), OTHER),
    ("9110 §7.8: two words are no token", ("WebSocket", "web socket"), OTHER),
    ("6455 §4.2.1 4: upgrade in any case", ("keep-alive, Upgrade", "uPGRADE"), TAKEN),
    ("9110 §7.6.1: with white space", ("keep-alive, Upgrade", "keep-alive \t,\tupgrade "), TAKEN),
    ("9110 §5.3: one of two lists", ("keep-alive, Upgrade", "keep-alive\r\nConnection: Upgrade"), TAKEN),
    ("6455 §4.2.1 4: none", ("Connection: keep-alive, Upgrade\r\n", ""), OTHER),
    ("6455 §4.2.1 4: without upgrade", ("keep-alive, Upgrade", "keep-alive"), OTHER),
    ("6455 §4.2.1 4: a word that begins so", ("keep-alive, Upgrade", "Upgrades"), OTHER),
];

#[rustfmt::skip]
const KEYS: &[(&str, Change, u16)] = &[
    ("6455 §4.2.1 5: none", ("Sec-WebSocket-Key", "Sec-WebSocket-No-Key"), BAD),
    ("6455 §4.2.1 5: an empty one", ("dGhlIHNhbXBsZSBub25jZQ==", ""), BAD),
    ("6455 §4.2.1 5: 2 bytes and no padding", ("dGhlIHNhbXBsZSBub25jZQ==", "abc"), BAD),
    ("6455 §4.2.1 5: 15 bytes", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), BAD),
    ("6455 §4.2.1 5: 17 bytes", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQE="), BAD),
    ("6455 §4.2.1 5: 18 bytes", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQEB"), BAD),
    ("4648 §3.2: without its padding", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), BAD),
    ("4648 §3.2: with half of it", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ="), BAD),
    ("4648 §3.3: a letter that is none", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSB*b25jZQ=="), BAD),
    ("4648 §3.3: white space", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs ZSBub25jZQ=="), BAD),
    ("4648 §3.5: bits beyond the last byte", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR=="), BAD),
    ("4648 §5: the other alphabet", ("dGhlIHNhbXBsZSBub25jZQ==", "-_hlIHNhbXBsZSBub25jZQ=="), BAD),
    ("4648 §4: all of the alphabet", ("dGhlIHNhbXBsZSBub25jZQ==", "+/hlIHNhbXBsZSBub25jZw=="), TAKEN),
    ("6455 §11.3.1: two", ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: "), BAD),
    ("6455 §11.3.1: two, one of them no text", ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: ÿ\r\nSec-WebSocket-Key: "), BAD),
    ("6455 §11.3.1: a list", ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="), BAD),
];

#[rustfmt::skip]
const VERSIONS: &[(&str, Change, u16)] = &[
    ("6455 §4.4: an older version", ("Version: 13", "Version: 8"), OTHER),
    ("6455 §4.4: a newer one", ("Version: 13", "Version: 14"), OTHER),
    ("6455 §4.2.2 4: none", ("Sec-WebSocket-Version: 13\r\n", ""), OTHER),
    ("6455 §4.3: no leading zero", ("Version: 13", "Version: 013"), OTHER),
    ("6455 §4.1 9: a request names one, not a list", ("Version: 13", "Version: 13, 8"), OTHER),
    ("6455 §11.3.5: once", ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13"), BAD),
    ("6455 §11.3.5: not in two values", ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8"), BAD),
];

/// What we do not take or need, whatever it says.
#[rustfmt::skip]
const OFFERS: &[(&str, Change, u16)] = &[
    ("6455 §4.2.1 8: no subprotocol", ("Sec-WebSocket-Protocol: chat, superchat\r\n", ""), TAKEN),
    ("6455 §4.2.2 5: one that is no token is not taken either", ("chat, superchat", "a b;,()"), TAKEN),
    ("6455 §11.3.4: in two headers", ("chat, superchat", "chat\r\nSec-WebSocket-Protocol: x"), TAKEN),
    ("6455 §4.2.1 9: no extension", ("Sec-WebSocket-Extensions: permessage-deflate\r\n", ""), TAKEN),
    ("6455 §9.1: one that we do not know", ("permessage-deflate", "x-other; a=1; b=\"2\""), TAKEN),
    ("6455 §4.2.1 7: the origin of a web page: the token says who it is", ("Host", "Origin: https://example.org\r\nHost"), TAKEN),
    ("6455 §4.2.1 7: none that it tells", ("Host", "Origin: null\r\nHost"), TAKEN),
    ("6455 §4.2.1 10: what is not known is ignored", ("Host", "Cookie: a=b\r\nX-Forwarded-For: 192.0.2.1\r\nHost"), TAKEN),
    ("9110 §8.6: a body of no bytes", ("Host", "Content-Length: 0\r\nHost"), TAKEN),
    ("9110 §9.3.1: a body", ("Host", "Content-Length: 5\r\nHost"), BAD),
    ("9110 §8.6: a length that is none", ("Host", "Content-Length: +0\r\nHost"), BAD),
    ("9110 §8.6: an empty length", ("Host", "Content-Length:\r\nHost"), BAD),
    ("9112 §6.3: two lengths", ("Host", "Content-Length: 0\r\nContent-Length: 5\r\nHost"), BAD),
    ("9112 §6.1: a body of chunks", ("Host", "Transfer-Encoding: chunked\r\nHost"), BAD),
    ("9112 §6.1: chunks and a length", ("Host", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\nHost"), BAD),
];

#[rustfmt::skip]
const SYNTAX: &[(&str, Change, u16)] = &[
    ("9112 §5.2: a folded line", ("Host", "X-Folded: a\r\n b\r\nHost"), BAD),
    ("9112 §5.2: a folded line first", ("Host", " X-Folded: a\r\nHost"), BAD),
    ("9112 §5.1: white space before the colon", ("Host:", "Host :"), BAD),
    ("9112 §5: a line without a colon", ("Host", "no header\r\nHost"), BAD),
    ("9110 §5.1: an empty name", ("Host", ": value\r\nHost"), BAD),
    ("9110 §5.6.2: a name that is no token", ("Host", "X(a): b\r\nHost"), BAD),
    ("9110 §5.5: NUL in a value", ("Host", "X-Nul: a\0b\r\nHost"), BAD),
    ("9110 §5.5: NUL in a name", ("Host", "X\0Nul: a\r\nHost"), BAD),
    ("9110 §5.5: another control character", ("Host", "X-Bell: a\x07b\r\nHost"), BAD),
    ("9110 §5.5: bytes beyond ASCII in a header that is not ours", ("Host", "X-Name: ä\r\nHost"), TAKEN),
    ("9112 §2.2: a bare CR", ("Host", "X-Cr: a\rb\r\nHost"), BAD),
    ("9112 §2.2: a bare LF may end a line", ("example.com\r\n", "example.com\n"), TAKEN),
];

#[tokio::test]
async fn a_request_is_taken_or_refused_as_the_rfcs_say() {
    let mut wrong = Vec::new();
    for (why, (from, to), status) in
        [REQUEST_LINES, HOSTS, UPGRADES, KEYS, VERSIONS, OFFERS, SYNTAX].concat()
    {
        assert!(REQUEST.contains(from), "{why}: {from}");
        // Here ÿ stands for the byte of its number, which is no UTF-8.
        let request = REQUEST.replacen(from, to, 1).replace('ÿ', "\u{1}");
        let request: Vec<u8> =
            request.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
        let (answer, upgraded) = answer_to(&request).await;
        let given = answer.get(9..12).unwrap_or_default();
        if given != status.to_string() || upgraded.is_ok() != (status == TAKEN) {
            wrong.push(format!("{why}: expected {status}, got {given}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
    let Upgraded { request, received } = rest.unwrap();
    assert_eq!(received, "first frame");
    assert_eq!(request.query(), Some("room=1"));
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_so() {
    let no_upgrade = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned();
    let many = REQUEST.replace("\r\n\r\n", &format!("\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX)));
    let long = REQUEST.replace("/chat", &format!("/{}", "x".repeat(REQUEST_MAX)));
    let long_header = REQUEST.replace("Host", &format!("X: {}\r\nHost", "x".repeat(REQUEST_MAX)));
    for (request, status) in [
        (no_upgrade, OTHER),
        ("\u{2}\0\0\0\u{5}hello".to_owned(), BAD),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".to_owned(), BAD),
        (many, LARGE),
        (long, LARGE),
        (long_header, LARGE),
    ] {
        let (answer, upgraded) = answer_to(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("this port speaks WebSocket"), "{answer}");
        // RFC 6455 §4.4: the version that we speak; RFC 9110 §7.8: the protocol.
        assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
        assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "{answer}");
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
