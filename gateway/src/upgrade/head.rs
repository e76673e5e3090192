//! The upgrade request of a client, kept until its login for the authenticator.

use std::fmt;

use super::request::{HEADERS_MAX, REQUEST_MAX};

/// The HTTP request that a client has opened its WebSocket with.
///
/// A gateway keeps it until the client has logged in, and counts it towards `limits.input_total` until
/// then. It has at most 8 KiB and 64 headers. Its headers come from the client, or from a proxy before
/// the gateway: only a proxy that removes a header from what clients send makes that header trustworthy.
#[derive(Clone, PartialEq, Eq)]
pub struct UpgradeRequest {
    head: Box<[u8]>,
}

// === impl UpgradeRequest ===

impl UpgradeRequest {
    /// Reads a request, up to and including the empty line after its headers; `None` where it is none.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let parsed = httparse::Request::new(&mut headers).parse(head).ok()?;
        let is_whole = matches!(parsed, httparse::Status::Complete(len) if len == head.len());
        (is_whole && head.len() <= REQUEST_MAX).then(|| Self::new(head))
    }

    /// Keeps a request that [`read_request`](super::read_request) has found whole.
    pub(super) fn new(head: &[u8]) -> Self {
        Self { head: head.into() }
    }

    /// Returns the path, such as `/chat`.
    pub fn path(&self) -> &str {
        let target = self.target();
        target.split('?').next().filter(|path| !path.is_empty()).unwrap_or("/")
    }

    /// Returns what follows the first question mark, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// Returns the value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers().into_iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// Returns the headers in their order: names as they were sent, values without the white space around
    /// them.
    pub fn headers(&self) -> Vec<(&str, &[u8])> {
        self.parsed(|request| {
            let headers = request.headers.iter();
            headers.map(|header| (header.name, header.value.trim_ascii())).collect()
        })
    }

    /// Returns the bytes of memory that it takes.
    pub(crate) fn len(&self) -> usize {
        self.head.len()
    }

    /// Returns path and query: of a whole URI, what follows the authority.
    fn target(&self) -> &str {
        let target = self.parsed(|request| request.path.unwrap_or_default());
        if target.starts_with('/') {
            return target;
        }
        let rest = target.split_once("://").map_or("", |(_, rest)| rest);
        rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default()
    }

    /// Reads the request again, which costs less than to keep what was read.
    fn parsed<'a, T>(&'a self, read: impl FnOnce(&httparse::Request<'_, 'a>) -> T) -> T {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        // It has been read before.
        let _ = request.parse(&self.head);
        read(&request)
    }
}

/// Tells only its size: headers and query may hold secrets.
impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> UpgradeRequest {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nCookie:  id=7 \r\nX-User: ann\r\nx-user: bob\r\n\r\n"
        );
        UpgradeRequest::parse(head.as_bytes()).unwrap()
    }

    #[test]
    fn path_and_query_are_those_of_the_target() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/chat/room?a=1&b=%20?", "/chat/room", Some("a=1&b=%20?")),
            ("http://example.com/chat?a", "/chat", Some("a")),
            ("https://example.com", "/", None),
            ("https://example.com?a=/b", "/", Some("a=/b")),
        ] {
            let request = request(target);
            assert_eq!((request.path(), request.query()), (path, query), "{target}");
        }
    }

    #[test]
    fn headers_are_found_by_names_in_any_case() {
        let request = request("/");
        assert_eq!(request.header("cookie"), Some(&b"id=7"[..]));
        assert_eq!(request.header("X-USER"), Some(&b"ann"[..]));
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.headers().len(), 4);
    }

    #[test]
    fn secrets_do_not_show() {
        let shown = format!("{:?}", request("/?token=secret"));
        assert!(!shown.contains("secret") && !shown.contains("id=7"), "{shown}");
    }

    #[test]
    fn what_is_no_whole_request_is_none() {
        for head in ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\nmore", "hello\r\n\r\n"] {
            assert_eq!(UpgradeRequest::parse(head.as_bytes()), None, "{head}");
        }
    }
}
