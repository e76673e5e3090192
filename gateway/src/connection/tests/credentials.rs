//! What an authenticator sees, what it may answer, and what is kept for it.

use std::sync::Mutex;

use super::*;
use crate::UpgradeRequest;

/// Lets clients in by a header and the query of their upgrade request, and keeps what it saw.
#[derive(Default)]
struct ByHeader {
    seen: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Authenticator for ByHeader {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, AuthError> {
        let none = || AuthError::Unauthorized("expected a header X-User".to_owned());
        let upgrade = credentials.upgrade.ok_or_else(none)?;
        let user = upgrade.header("x-user").and_then(|user| str::from_utf8(user).ok());
        let seen = (credentials.remote.to_string(), upgrade.path().to_owned());
        self.seen.lock().unwrap().push(seen);
        Ok(Identity {
            account: user.ok_or_else(none)?.into(),
            app: upgrade.query().unwrap_or("none").into(),
            device: String::new(),
            expires: None,
        })
    }
}

fn upgrade(padding: usize) -> UpgradeRequest {
    let padding = "x".repeat(padding);
    let head = format!("GET /chat?office HTTP/1.1\r\nX-User: ann\r\nPadding: {padding}\r\n\r\n");
    UpgradeRequest::parse(head.as_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_sees_the_upgrade_request_which_is_dropped_at_the_login() {
    let by_header = Arc::new(ByHeader::default());
    let authenticator: Arc<dyn Authenticator> = by_header.clone();
    let kept = |pair: &Pair| pair.context.memory.input();
    let mut pair =
        Pair::with(Framing::WebSocket, 1 << 20, Some(authenticator), Some(upgrade(6000)));
    let all = kept(&pair);
    soon(|| kept(&pair) > all + 6000).await;
    pair.client.request(LOGIN, login_body("")).await;
    soon(|| pair.context.sessions.len() == 1).await;
    let session = pair.context.sessions.all().remove(0).session.clone();
    assert_eq!((session.account.as_str(), session.app.as_str()), ("ann", "office"));
    assert_eq!(*by_header.seen.lock().unwrap(), [("127.0.0.1:1".into(), "/chat".into())]);
    soon(|| kept(&pair) == all).await;
}

#[tokio::test(start_paused = true)]
async fn over_other_framings_there_is_no_upgrade_request() {
    let authenticator: Arc<dyn Authenticator> = Arc::new(ByHeader::default());
    let mut pair = Pair::with(Framing::LengthPrefixed, 1 << 20, Some(authenticator), None);
    pair.client.request(LOGIN, login_body("")).await;
    assert_eq!(pair.client.recv_logic().await.header.status, 105);
    pair.client.expect_close(1008).await;
}

/// Cannot ask its directory now.
struct Away;

#[async_trait]
impl Authenticator for Away {
    async fn authenticate(&self, _: &Credentials<'_>) -> Result<Identity, AuthError> {
        Err(AuthError::TryLater("the directory is away".to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_cannot_tell_now_has_the_client_try_again_later() {
    let away: Arc<dyn Authenticator> = Arc::new(Away);
    let mut pair = Pair::with(Framing::WebSocket, 1 << 20, Some(away), None);
    pair.client.request(LOGIN, login_body("x")).await;
    assert_eq!(pair.client.recv_refusal().await, (300, "the directory is away".to_owned()));
    pair.client.expect_close(1013).await;
}
