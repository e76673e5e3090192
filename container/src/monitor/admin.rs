//! Who may use `/admin`.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, header};
use imago_kit::Secret;
use subtle::ConstantTimeEq;

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is missing or wrong.
    Token,
    /// The caller is on another machine.
    Remote,
    /// The request comes from a web page.
    WebPage,
}

/// With a token: only who knows it. Without: only programs on this machine; not web pages that a
/// browser on this machine happens to show, which can post here too, but not without `Origin`.
pub(super) fn admit(
    token: Option<&Secret>,
    remote: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Refused> {
    let Some(token) = token else {
        return match remote.ip().to_canonical().is_loopback() {
            false => Err(Refused::Remote),
            true if headers.contains_key(header::ORIGIN) => Err(Refused::WebPage),
            true => Ok(()),
        };
    };
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).ok_or(Refused::Token)?;
    if given.ct_eq(token.as_bytes()).into() { Ok(()) } else { Err(Refused::Token) }
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Remote | Self::WebPage => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Token => "expected the header Authorization: Bearer with monitor.admin_token",
            Self::Remote => {
                "expected a caller on this machine, or monitor.admin_token to be configured"
            }
            Self::WebPage => {
                "expected no Origin header: web pages may not do this without monitor.admin_token"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, header::HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn without_a_token_only_programs_on_this_machine_may_administer() {
        let none = HeaderMap::new();
        let far = "192.0.2.7:4000".parse().unwrap();
        assert_eq!(admit(None, far, &none), Err(Refused::Remote));
        for near in ["127.0.0.1:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000"] {
            assert_eq!(admit(None, near.parse().unwrap(), &none), Ok(()));
        }
        let page = headers(header::ORIGIN, "http://page.example");
        assert_eq!(admit(None, "127.0.0.1:4000".parse().unwrap(), &page), Err(Refused::WebPage));
    }

    #[test]
    fn with_a_token_only_who_knows_it_may_administer_from_anywhere() {
        let far = "192.0.2.7:4000".parse().unwrap();
        let near = "127.0.0.1:4000".parse().unwrap();
        let token = Secret::from("open-sesame");
        let token = Some(&token);
        assert_eq!(admit(token, near, &HeaderMap::new()), Err(Refused::Token));
        let given = |text| headers(header::AUTHORIZATION, text);
        assert_eq!(admit(token, far, &given("Bearer open-sesame")), Ok(()));
        for wrong in ["Bearer open", "Bearer open-sesame2", "Bearer ", "Basic open-sesame"] {
            assert_eq!(admit(token, near, &given(wrong)), Err(Refused::Token));
        }
    }
}
