//! Reads an upgrade request: which ones may become a WebSocket (RFC 6455 §4.2.1), as pure decisions.

use std::net::Ipv6Addr;

use httparse::Header;

/// Bytes of an upgrade request at most.
pub(super) const REQUEST_MAX: usize = 8 * 1024;
/// Headers of an upgrade request at most.
pub(super) const HEADERS_MAX: usize = 64;

/// Bytes of a key in base64: those of 16 bytes, and two of padding.
const KEY_LEN: usize = 24;

/// A request that may become a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What the answer proves with that we understood.
    pub(super) key: [u8; KEY_LEN],
    /// Bytes of the request.
    pub(super) len: usize,
}

/// Why there will be no WebSocket, in the words of HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: &'static str,
    pub(super) why: String,
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(status: &'static str, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new("400 Bad Request", why)
    }

    fn upgrade(why: impl Into<String>) -> Self {
        Self::new("426 Upgrade Required", why)
    }
}

/// `None` where more bytes have to come.
pub(super) fn read_request(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
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
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(Refusal::bad("expected a GET request of HTTP/1.1"));
    }
    if !is_target(request.path.unwrap_or_default()) {
        return Err(Refusal::bad("expected a path or an http URI, without a fragment"));
    }
    let key = check_headers(&Headers(request.headers))?;
    Ok(Some(Request { key, len }))
}

/// Checks what a request has to say of itself; the key, if it may become a WebSocket.
fn check_headers(headers: &Headers<'_>) -> Result<[u8; KEY_LEN], Refusal> {
    // RFC 6455 §4.2.1 item 2, RFC 9112 §3.2.
    if !headers.only("Host").is_some_and(is_authority) {
        return Err(Refusal::bad("expected one header Host with a host, and perhaps a port"));
    }
    // What follows the request would be taken for frames here, and for a body elsewhere.
    let is_bodiless = headers.all("Content-Length").all(|length| length == b"0")
        && headers.all("Transfer-Encoding").next().is_none();
    if !is_bodiless {
        return Err(Refusal::bad("expected a request without a body"));
    }
    if !headers.has_token("Upgrade", "websocket") {
        return Err(Refusal::upgrade("expected the header Upgrade: websocket"));
    }
    if !headers.has_token("Connection", "Upgrade") {
        return Err(Refusal::upgrade("expected the header Connection: Upgrade"));
    }
    // RFC 6455 §11.3.5: not more than once.
    if headers.all("Sec-WebSocket-Version").nth(1).is_some() {
        return Err(Refusal::bad("expected one header Sec-WebSocket-Version"));
    }
    if headers.only("Sec-WebSocket-Version") != Some(b"13") {
        return Err(Refusal::upgrade("expected the header Sec-WebSocket-Version: 13"));
    }
    headers.only("Sec-WebSocket-Key").and_then(key).ok_or_else(|| {
        Refusal::bad("expected one header Sec-WebSocket-Key with 16 bytes in base64")
    })
}

/// Headers of a request. Values are bytes, so that one that is no text counts, too.
struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// Values of all headers of a name, without the white space around them.
    fn all(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// The value of a name that only one header has.
    fn only(&self, name: &'a str) -> Option<&'a [u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a list, in one header or several, has a token (RFC 9110 §5.6.1).
    fn has_token(&self, name: &'a str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Returns whether a request for this target names a resource: a path with a query, or a whole URI of
/// http or https (RFC 6455 §4.1 item 2, §3).
fn is_target(target: &str) -> bool {
    if target.contains('#') {
        return false;
    }
    if target.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = target.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    is_http && is_authority(authority.as_bytes())
}

/// Returns whether this is `host` or `host:port` (RFC 9110 §7.2, RFC 3986 §3.2).
fn is_authority(value: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(value) else { return false };
    let (is_host, rest) = match value.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
            None => return false,
        },
        None => {
            let (name, rest) = value.split_at(value.find(':').unwrap_or(value.len()));
            (!name.is_empty() && name.bytes().all(is_of_name), rest)
        }
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    is_host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Returns whether a registered name may have this byte (RFC 3986 §3.2.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

/// The key, if it is the canonical base64 of 16 bytes (RFC 4648 §3.5, §4): the last of its letters then
/// stands for two bits, and two of padding follow.
fn key(value: &[u8]) -> Option<[u8; KEY_LEN]> {
    let key: [u8; KEY_LEN] = value.try_into().ok()?;
    let letters = key.strip_suffix(b"==")?;
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let is_canonical = letters.last().is_some_and(|last| b"AQgw".contains(last));
    (letters.iter().all(is_letter) && is_canonical).then_some(key)
}
