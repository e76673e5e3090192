//! Asks whether the process behind an entry lives: its monitor port, which tells its incarnation with
//! `/health`, and the link port of a logic server.

use std::time::Duration;

use futures::future::{join_all, select_ok};
use imago_proto::{ServiceId, link::Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Rival;
use crate::{
    link::{Credentials, Identity, handshake_ask},
    monitor::INCARNATION_HEADER,
};

/// How long a process may take to answer. One that is cut off for less than a quarter of it notices
/// nothing, and one that is cut off for longer [gives way](super::ClaimCore::cut_off).
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer to `/health` that are read.
const ANSWER_MAX: u64 = 4096;

/// Who asks.
pub(crate) struct Prober<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) credentials: &'a Credentials,
}

/// Returns which of these live, in their order.
pub(crate) async fn is_alive(prober: &Prober<'_>, rivals: &[Rival]) -> Vec<bool> {
    join_all(rivals.iter().map(|rival| prober.answers(rival))).await
}

impl Prober<'_> {
    /// Returns whether any port of a rival answers with its incarnation.
    async fn answers(&self, rival: &Rival) -> bool {
        let monitor = Box::pin(async { ask_monitor(rival).await.filter(|yes| *yes).ok_or(()) });
        let link = Box::pin(async { self.ask_link(rival).await.filter(|yes| *yes).ok_or(()) });
        let any = select_ok([monitor as futures::future::BoxFuture<'_, _>, link]);
        matches!(timeout(PATIENCE, any).await, Ok(Ok(_)))
    }

    /// Greets a logic server as a gateway does, and leaves when it has told who it is.
    async fn ask_link(&self, rival: &Rival) -> Option<bool> {
        if self.identity.role != Role::Logic {
            return None;
        }
        let gateway = Identity { role: Role::Gateway, ..self.identity.clone() };
        let id: &ServiceId = &self.identity.peer.service_id;
        let mut stream = TcpStream::connect(&rival.address).await.ok()?;
        let peer = handshake_ask(&mut stream, &gateway, self.credentials, id).await.ok()?;
        Some(peer.incarnation == rival.claim.incarnation)
    }
}

/// Reads the incarnation from the headers of `/health`.
async fn ask_monitor(rival: &Rival) -> Option<bool> {
    let rest = rival.health_url.as_deref()?.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(authority).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await.ok()?;
    Some(incarnation_in(&answer)? == rival.claim.incarnation.to_string())
}

/// The value of the header in an answer.
fn incarnation_in(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut values = headers
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case(INCARNATION_HEADER))
        .map(|(_, value)| value.trim().to_owned());
    values.next()
}

#[cfg(test)]
mod tests {
    use imago_proto::Incarnation;
    use tokio::net::TcpListener;

    use super::*;
    use crate::claim::Claim;

    #[test]
    fn the_incarnation_is_read_from_the_headers_alone() {
        let answer =
            |head: &str| incarnation_in(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok").as_bytes());
        assert_eq!(answer("a: b\r\nImago-Incarnation:  00ff \r\nc: d"), Some("00ff".to_owned()));
        assert_eq!(answer("a: b"), None);
        assert_eq!(incarnation_in(b"imago-incarnation: 1"), None);
        assert_eq!(incarnation_in(b""), None);
    }

    /// Answers one request with this.
    async fn answering(answer: &'static str) -> Rival {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let health_url = format!("http://{}/health", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let claim = Claim { generation: 1, incarnation: Incarnation(0xff) };
        let address = "127.0.0.1:1".to_owned();
        Rival { claim, address, health_url: Some(health_url), is_leaving: false }
    }

    #[tokio::test]
    async fn only_a_process_that_tells_the_incarnation_of_the_entry_lives() {
        let known = "HTTP/1.1 200 OK\r\nimago-incarnation: 00000000000000ff\r\n\r\nok\n";
        let other = "HTTP/1.1 200 OK\r\nimago-incarnation: 00000000000000fe\r\n\r\nok\n";
        for (answer, lives) in [(known, true), (other, false), ("HTTP/1.1 200 OK\r\n\r\n", false)] {
            assert_eq!(ask_monitor(&answering(answer).await).await.unwrap_or_default(), lives);
        }
        let mut nowhere = answering(known).await;
        for url in [None, Some("https://127.0.0.1/health"), Some("http://127.0.0.1:1/health")] {
            nowhere.health_url = url.map(ToOwned::to_owned);
            assert_eq!(ask_monitor(&nowhere).await, None);
        }
    }
}
