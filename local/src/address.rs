//! Addresses in flags, checked before anything is asked.

use anyhow::{anyhow, bail};
use imago_kit::{Redacted, check_host, split_authority};

/// A gateway's WebSocket port, given by `--gateway`: `ws://HOST[:PORT][/PATH]`.
///
/// # Errors
/// With the flag, what was given, and what was expected.
pub fn ws_url(text: &str) -> anyhow::Result<String> {
    match check_ws(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(why) => bail!("--gateway {:?}: {why}", Redacted(text)),
    }
}

/// A monitor port, given by `--monitor`: `HOST:PORT` or `http://HOST[:PORT][/PATH]`, as a URL
/// without a slash at its end.
///
/// # Errors
/// With the flag, what was given, and what was expected.
pub fn monitor_url(text: &str) -> anyhow::Result<String> {
    normal_monitor(text).map_err(|why| anyhow!("--monitor {:?}: {why}", Redacted(text)))
}

fn check_ws(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected ws://HOST:PORT";
    let rest = text.strip_prefix("ws://").ok_or(EXPECTED)?;
    check_authority(rest.split(['/', '?']).next().unwrap_or_default())
        .map_err(|why| format!("{EXPECTED}: {why}"))
}

fn normal_monitor(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected HOST:PORT or http://HOST:PORT";
    let Some((scheme, rest)) = text.split_once("://") else {
        split_authority(text).map_err(|why| format!("{EXPECTED}: {why}"))?;
        return Ok(format!("http://{text}"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => return Err(format!("https is not supported: {EXPECTED}")),
        _ => return Err(EXPECTED.to_owned()),
    }
    let rest = rest.trim_end_matches('/');
    if rest.contains(['?', '#']) {
        return Err(format!("{EXPECTED}, without parameters"));
    }
    check_authority(rest.split('/').next().unwrap_or_default())
        .map_err(|why| format!("{EXPECTED}: {why}"))?;
    Ok(format!("http://{rest}"))
}

/// `HOST:PORT`, or `HOST` for the port of the scheme.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    let bare = authority.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_some() || !authority.contains(':') {
        return check_host(bare.unwrap_or(authority));
    }
    split_authority(authority).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_port_needs_no_scheme() {
        for (text, url) in [
            ("h:9000", "http://h:9000"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("http://h:9000", "http://h:9000"),
            ("http://h:9000/", "http://h:9000"),
            ("HTTP://h/imago/", "http://h/imago"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(monitor_url(text).unwrap(), url);
        }
        for (text, why) in [
            ("https://h:9000", "https is not supported"),
            ("h", "no port"),
            ("h:0", "port from 1"),
            ("::1:9000", "in brackets"),
            ("http://::1:9000", "in brackets"),
            ("http://me@h:9000", "host name"),
            ("http://a b", "host name"),
            ("http://h:9000/?x=1", "without parameters"),
            ("ftp://h", "expected HOST:PORT or http"),
            ("", "expected HOST:PORT"),
        ] {
            let error = monitor_url(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("--monitor"), "{text}: {error}");
        }
    }

    #[test]
    fn a_gateway_is_a_websocket_url() {
        for text in ["ws://h:8000", "ws://[::1]:8000/im?x=1", "ws://h", "ws://[::1]"] {
            assert_eq!(ws_url(text).unwrap(), text);
        }
        for text in ["h:8000", "tcp://h:8000", "ws://", "ws://::1:80", "ws://\"h\":80", "ws://h:x"]
        {
            assert!(ws_url(text).is_err(), "{text}");
        }
    }
}
