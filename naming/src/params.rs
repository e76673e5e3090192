//! Parameters in the URL of a backend.

use std::time::Duration;

use imago_kit::Parameter;
use url::Url;

use crate::{Error, Result};

/// The query of a URL, taken apart one name at a time.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    pub(crate) fn of(url: &Url) -> Self {
        let pairs = url.query_pairs();
        Self { pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect() }
    }

    /// All values of a name.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) =
            std::mem::take(&mut self.pairs).into_iter().partition(|pair| pair.0 == name);
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The last value of a name.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.all(name).pop()
    }

    /// A time such as `10s` or `500ms`.
    pub(crate) fn duration(&mut self, name: &str, default: Duration) -> Result<Duration> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let parsed = text
            .strip_suffix("ms")
            .map(|number| (number, 1))
            .or_else(|| text.strip_suffix('s').map(|number| (number, 1000)));
        parsed
            .and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(factor))
            .filter(|millis| (1..=86_400_000).contains(millis))
            .map(Duration::from_millis)
            .ok_or_else(|| {
                Error::Url(format!("{name}: expected a time like 500ms or 10s, at most a day"))
            })
    }

    /// Everything must have been taken.
    pub(crate) fn finish(self, known: &str) -> Result<()> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, value)) => {
                let pair = if value.is_empty() { name } else { &format!("{name}=") };
                let name = Parameter(pair);
                Err(Error::Url(format!("unknown parameter {name}, expected {known}")))
            }
        }
    }
}
