//! Parameters in the URL of a backend.

use std::time::Duration;

use imago_kit::Parameter;
use url::{Url, form_urlencoded};

use crate::{Error, Result};

/// The query of a URL, taken apart one name at a time.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    pub(crate) fn of(url: &Url) -> Result<Self> {
        let query = url.query().unwrap_or_default();
        let pieces = query.split('&').filter(|piece| !piece.is_empty());
        let pairs = pieces.map(|piece| {
            // Without a name, it may be a secret.
            let is_pair = piece.find('=').is_some_and(|at| at > 0);
            let pair = form_urlencoded::parse(piece.as_bytes()).into_owned().next();
            pair.filter(|_| is_pair).ok_or_else(|| {
                Error::Url("parameters: expected name=value, joined by &".to_owned())
            })
        });
        Ok(Self { pairs: pairs.collect::<Result<_>>()? })
    }

    /// All values of a name.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) =
            std::mem::take(&mut self.pairs).into_iter().partition(|pair| pair.0 == name);
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a name that is given once at most.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        let mut values = self.all(name);
        if values.len() > 1 {
            let count = values.len();
            return Err(Error::Url(format!(
                "parameter {name}: expected it once, got it {count} times"
            )));
        }
        Ok(values.pop())
    }

    /// A time such as `10s` or `500ms`, of at least `least`.
    pub(crate) fn duration(
        &mut self,
        name: &str,
        default: Duration,
        least: Duration,
    ) -> Result<Duration> {
        const DAY: Duration = Duration::from_secs(86_400);
        let Some(text) = self.text(name)? else { return Ok(default) };
        let parsed = text
            .strip_suffix("ms")
            .map(|number| (number, 1))
            .or_else(|| text.strip_suffix('s').map(|number| (number, 1000)));
        parsed
            .and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(factor))
            .map(Duration::from_millis)
            .filter(|time| (least..=DAY).contains(time))
            .ok_or_else(|| {
                let least = least.as_millis();
                Error::Url(format!(
                    "{name}: expected a time like 500ms or 10s, from {least}ms to a day"
                ))
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
