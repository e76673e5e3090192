//! A server's monitor port, as people and collectors use it.

use std::time::Duration;

use imago_container::monitor::PeersReport;

/// Asks one monitor port.
#[derive(Clone, Debug)]
pub struct Monitor {
    base: String,
    http: reqwest::Client,
}

impl Monitor {
    /// The port at `host:port`.
    ///
    /// # Panics
    /// When HTTP cannot be set up.
    pub fn new(address: &str) -> Self {
        let http = imago_kit::http::client().timeout(Duration::from_secs(5)).build();
        Self { base: format!("http://{address}"), http: http.expect("HTTP can be set up") }
    }

    /// Status and text of `/ready`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ready(&self) -> reqwest::Result<(u16, String)> {
        let answer = self.http.get(format!("{}/ready", self.base)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// What `/peers` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn peers(&self) -> reqwest::Result<PeersReport> {
        self.http.get(format!("{}/peers", self.base)).send().await?.json().await
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> reqwest::Result<String> {
        self.http.get(format!("{}/metrics", self.base)).send().await?.text().await
    }

    /// Sum of a metric over all labels; 0 where it was never counted.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, name: &str) -> reqwest::Result<f64> {
        self.metric_where(name, "").await
    }

    /// Sum of a metric over the series whose labels contain `label`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric_where(&self, name: &str, label: &str) -> reqwest::Result<f64> {
        let text = self.metrics().await?;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            (metric == name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// Posts to a path; gives the status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn post(&self, path: &str) -> reqwest::Result<u16> {
        Ok(self.http.post(format!("{}{path}", self.base)).send().await?.status().as_u16())
    }
}
