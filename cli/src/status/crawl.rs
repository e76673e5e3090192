//! Asks the members of a cluster, and those that they name, what they see.

use std::{collections::BTreeMap, error::Error};

use futures::{StreamExt, stream};
use imago_container::monitor::{PeerReport, PeersReport};
use reqwest::{Client, Response, StatusCode};

use super::PATIENCE;

/// Members looked at, at most: a registry may be wrong, but not without end.
const MEMBERS_MAX: usize = 1000;
/// Members asked at a time.
const AT_A_TIME: usize = 32;
/// Bytes of an answer.
const ANSWER_MAX: usize = 16 << 20;

/// Who a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) role: String,
    pub(super) id: String,
}

/// What is known of a member.
#[derive(Debug)]
pub(super) struct Member {
    /// Who it is, as others say.
    pub(super) name: Option<Name>,
    /// What it says, or why it does not.
    pub(super) report: Result<PeersReport, String>,
}

/// Members by the URL of their monitor port.
pub(super) type Seen = BTreeMap<String, Member>;

/// Asks the members, and the members that they name.
pub(super) async fn crawl(http: &Client, monitors: &BTreeMap<String, Option<Name>>) -> Seen {
    let mut seen = Seen::new();
    let mut ahead = monitors.clone();
    while !ahead.is_empty() {
        let room = MEMBERS_MAX.saturating_sub(seen.len());
        let asked = stream::iter(std::mem::take(&mut ahead).into_iter().take(room));
        let asked = asked.map(|(url, name)| async move {
            let report = ask(http, &url).await;
            (url, Member { name, report })
        });
        let answers: Vec<(String, Member)> = asked.buffer_unordered(AT_A_TIME).collect().await;
        let named: Vec<(String, Name)> =
            answers.iter().flat_map(|(_, member)| named(member)).collect();
        seen.extend(answers);
        for (url, name) in named {
            if let Some(known) = seen.get_mut(&url) {
                known.name.get_or_insert(name);
            } else if ahead.len() < MEMBERS_MAX {
                ahead.insert(url, Some(name));
            }
        }
    }
    seen
}

/// The monitor ports that a member names.
fn named(member: &Member) -> Vec<(String, Name)> {
    let Ok(report) = &member.report else { return Vec::new() };
    let of = |peer: &PeerReport| {
        let url = peer.monitor.as_ref()?.trim_end_matches('/').to_owned();
        Some((url, name_of(report, peer)))
    };
    report.peers.iter().filter_map(of).collect()
}

/// Gateways link with logic servers, and these with gateways.
pub(super) fn name_of(report: &PeersReport, peer: &PeerReport) -> Name {
    let role = match report.own.role.as_str() {
        "gateway" => "logic",
        "logic" => "gateway",
        _ => "server",
    };
    Name { role: role.to_owned(), id: peer.id.clone() }
}

async fn ask(http: &Client, url: &str) -> Result<PeersReport, String> {
    let answer = http.get(format!("{url}/peers")).send().await.map_err(|error| silence(&error))?;
    let status = answer.status();
    let body = read(answer).await?;
    if status != StatusCode::OK {
        return Err(refusal(status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| format!("answers something else: {error}"))
}

async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| silence(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(format!("answers with more than {} MiB", ANSWER_MAX >> 20));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there is no answer, or none to the end.
fn silence(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("does not answer: timed out after {PATIENCE:?}");
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("does not answer: {cause}")
}

/// A refusal with its reason, where the member gives one.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    let why = serde_json::from_slice::<Refusal>(body).map(|refusal| format!(": {}", refusal.error));
    format!("answers with status {status}{}", why.unwrap_or_default())
}
