//! The parts of Consul's HTTP API that are used, and their limits.

use std::{collections::BTreeMap, time::Duration};

use imago_kit::Redacted;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::options::{Check, ConsulOptions};
use crate::{Error, Result, ServiceRegistration, meta_key};

/// Meta entries of a service.
const META_PAIRS_MAX: usize = 64;
/// Bytes of a meta key, of `[A-Za-z0-9_-]`.
const META_KEY_MAX: usize = 128;
/// Bytes of a meta value: Consul says characters, and counts bytes.
const META_VALUE_MAX: usize = 512;
/// How long a plain request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes: some 10,000 instances.
const ANSWER_MAX: usize = 64 << 20;
/// Added to the longest time that a blocking query may take.
const WAIT_SLACK: Duration = Duration::from_secs(5);

/// Talks to one agent.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    pub(super) options: ConsulOptions,
}

/// What a read of a service's instances was answered.
pub(super) struct Answer {
    /// The instances, unread.
    pub(super) entries: Vec<Value>,
    /// The index to wait behind; 0 where the answer has none.
    pub(super) index: u64,
    /// Whether Consul says that it left out what the token may not read.
    pub(super) is_filtered: bool,
}

/// What an agent says of one of its registrations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Held {
    meta: Option<BTreeMap<String, String>>,
}

impl Api {
    pub(super) fn new(options: ConsulOptions) -> Result<Self> {
        let client = imago_kit::http::client()
            .connect_timeout(Duration::from_secs(3))
            .build()
            .map_err(|error| Error::Url(format!("cannot set up HTTP: {error}")))?;
        Ok(Self { client, options })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.options.base.trim_end_matches('/'));
        let mut request = self.client.request(method, url).timeout(REQUEST_TIMEOUT);
        if let Some(token) = &self.options.token {
            request = request.header("X-Consul-Token", token.expose());
        }
        if let Some(datacenter) = &self.options.datacenter {
            request = request.query(&[("dc", datacenter)]);
        }
        request
    }

    /// Sends a request; an answer other than 200 is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.unavailable(&error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let text = text.trim().chars().take(300).collect::<String>();
        // Consul answers 400 and 403 to what it will never take; 429 and 5xx pass.
        Err(match status.as_u16() {
            400 | 403 | 405 => Error::Refused(format!("{status}: {text}")),
            _ => Error::Unavailable(format!("{status}: {text}")),
        })
    }

    pub(super) async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        let body = self.body(service)?;
        self.send(self.request(Method::PUT, "/v1/agent/service/register").json(&body)).await?;
        Ok(())
    }

    pub(super) async fn deregister(&self, id: &str) -> Result<()> {
        let path = format!("/v1/agent/service/deregister/{}", encode(id));
        match self.send(self.request(Method::PUT, &path)).await {
            // Later versions say so where there is nothing to remove.
            Err(Error::Unavailable(text)) if text.starts_with("404") => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Returns whether the agent has this registration, and not one that another process made under
    /// its id.
    pub(super) async fn holds(&self, service: &ServiceRegistration) -> Result<bool> {
        let path = format!("/v1/agent/service/{}", encode(&service.id));
        match self.send(self.request(Method::GET, &path)).await {
            Ok(response) => {
                let held = response.json::<Held>().await;
                Ok(held.map_or(true, |held| held.meta.unwrap_or_default() == service.meta))
            }
            Err(Error::Unavailable(text)) if text.starts_with("404") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the agent still has a registration under this id.
    pub(super) async fn has(&self, id: &str) -> Result<bool> {
        let path = format!("/v1/agent/service/{}", encode(id));
        match self.send(self.request(Method::GET, &path)).await {
            Ok(_) => Ok(true),
            Err(Error::Unavailable(text)) if text.starts_with("404") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells the agent that a TTL-checked service is alive.
    pub(super) async fn pass(&self, id: &str) -> Result<()> {
        let path = format!("/v1/agent/check/pass/service:{}", encode(id));
        self.send(self.request(Method::PUT, &path)).await?;
        Ok(())
    }

    /// All instances with their health, in default consistency: never older than an own write that
    /// has shown up before. With an index: waits for a change, at most `wait`.
    pub(super) async fn health(&self, service: &str, behind: Option<u64>) -> Result<Answer> {
        let path = format!("/v1/health/service/{}", encode(service));
        let mut request = self.request(Method::GET, &path);
        if let Some(index) = behind.filter(|index| *index > 0) {
            let wait = self.options.wait;
            // Consul adds up to a sixteenth of the wait.
            request = request
                .query(&[("index", index.to_string()), ("wait", format!("{}ms", wait.as_millis()))])
                .timeout(wait + wait / 16 + WAIT_SLACK);
        }
        let response = self.send(request).await?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let index = header("X-Consul-Index").and_then(|index| index.parse().ok()).unwrap_or(0);
        let is_filtered = header("X-Consul-Results-Filtered-By-ACLs") == Some("true");
        let bytes = self.read_whole(response).await?;
        // Entries are read later, one by one.
        let entries: Option<Vec<Value>> = serde_json::from_slice(&bytes)
            .map_err(|error| self.unusable(&format!("expected a list of instances: {error}")))?;
        Ok(Answer { entries: entries.unwrap_or_default(), index, is_filtered })
    }

    async fn read_whole(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unavailable(&error))? {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                return Err(self.unusable(&format!("expected at most {ANSWER_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unusable(&self, why: &str) -> Error {
        let base = Redacted(&self.options.base);
        Error::Unavailable(format!("consul at {base}: no usable answer: {why}"))
    }

    /// Tells the cause and the agent's address; never the URL, which may hold more.
    fn unavailable(&self, error: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        if !error.is_timeout() {
            return self.unusable(&cause.to_string());
        }
        let base = Redacted(&self.options.base);
        Error::Unavailable(format!("consul at {base}: no answer in time: {cause}"))
    }

    fn body(&self, service: &ServiceRegistration) -> Result<Value> {
        validate(service)?;
        let mut body = json!({
            "ID": service.id,
            "Name": service.name,
            "Address": service.address,
            "Port": service.port,
            "Tags": service.tags,
            "Meta": service.meta,
        });
        let options = &self.options;
        let check = match (options.check, service.meta(meta_key::HEALTH_URL)) {
            (Check::Ttl, _) => json!({ "TTL": millis(options.ttl) }),
            (Check::Http, Some(url)) => json!({
                "HTTP": url,
                "Interval": millis(options.check_interval),
                "Timeout": millis(options.check_timeout),
            }),
            // Nothing to ask: alive as long as the agent is.
            (Check::Http, None) => return Ok(body),
        };
        let mut check = check;
        if let (Some(check), Some(body)) = (check.as_object_mut(), body.as_object_mut()) {
            check.insert(
                "DeregisterCriticalServiceAfter".into(),
                millis(options.deregister_after).into(),
            );
            // Else a check is critical until its first run, at a random point of its interval.
            check.insert("Status".into(), "passing".into());
            body.insert("Check".into(), Value::Object(check.clone()));
        }
        Ok(body)
    }
}

fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Ids and names in a path.
fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Checks what Consul refuses or, worse, takes and cuts.
pub(super) fn validate(service: &ServiceRegistration) -> Result<()> {
    service.check()?;
    check_meta(service).map_err(|(field, reason)| Error::Invalid { field, reason })
}

/// Checks the limits of meta; otherwise, the field and what is expected of it.
pub(super) fn check_meta(service: &ServiceRegistration) -> Result<(), (String, String)> {
    if service.meta.len() > META_PAIRS_MAX {
        let reason =
            format!("expected at most {META_PAIRS_MAX} entries, got {}", service.meta.len());
        return Err(("meta".to_owned(), reason));
    }
    for (key, value) in &service.meta {
        let is_plain =
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if key.is_empty() || key.len() > META_KEY_MAX || !is_plain {
            let reason =
                format!("expected a key of 1 to {META_KEY_MAX} characters of A-Z a-z 0-9 _ -");
            return Err((format!("meta.{key}"), reason));
        }
        let len = value.len();
        if len > META_VALUE_MAX {
            let reason = format!("expected at most {META_VALUE_MAX} bytes, got {len}");
            return Err((format!("meta.{key}"), reason));
        }
    }
    Ok(())
}
