//! Configuration of a server: defaults, then a file, then the environment, then flags.
//!
//! The default file holds every key there is, so it is the schema too. All errors are reported in
//! one go, each with the key, the value, where it came from, and what is allowed.

mod programs;
mod secret;
mod source;
mod suggest;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap, fmt::Display, net::SocketAddr, ops::RangeInclusive, path::Path,
    str::FromStr, time::Duration,
};

use crate::{SecretUrl, bounded, check_reachable};
pub use programs::Program;
use source::{Given, Layer, Origin, Shape};

/// What is wrong with a configuration, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct SettingsError(pub Vec<String>);

fn lines(errors: &[String]) -> String {
    let count = errors.len();
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} error{plural} in the configuration:\n  {}", errors.join("\n  "))
}

/// The values of a configuration, read one by one; errors are kept until [`finish`](Self::finish).
#[derive(Debug)]
pub struct Settings {
    programs: &'static [Program],
    values: BTreeMap<String, Given>,
    errors: Vec<String>,
}

impl Settings {
    /// Puts the layers together: `defaults` (TOML that holds every key), the file, variables
    /// `IMAGO_SECTION__KEY`, and `overrides` of the command line. Variables that are keys of another one of
    /// `programs` are ignored.
    ///
    /// # Errors
    /// When the file cannot be read or is not TOML; everything else is reported by
    /// [`finish`](Self::finish).
    pub fn load(
        defaults: &str,
        programs: &'static [Program],
        file: Option<&Path>,
        overrides: &[(String, String)],
    ) -> Result<Self, SettingsError> {
        let mut variables = Vec::new();
        let mut unreadable = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => variables.push((name, value)),
                (Ok(name), Err(_)) if source::key_of(&name).is_some() => unreadable.push(name),
                _ => {}
            }
        }
        let mut settings =
            Self::layered(defaults, programs, file, variables.into_iter(), overrides)?;
        for name in unreadable {
            let key = source::key_of(&name).unwrap_or_default();
            if settings.values.contains_key(&key) || programs::owner(programs, &key).is_none() {
                settings.error(format!("{name}: expected UTF-8"));
            }
        }
        Ok(settings)
    }

    fn layered(
        defaults: &str,
        programs: &'static [Program],
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, SettingsError> {
        let values = source::read_toml(defaults, &Origin::Default)?;
        let mut settings = Self { programs, values, errors: Vec::new() };
        if let Some(path) = file {
            settings.lay_over(source::read_file(path)?);
        }
        settings.lay_over(source::from_environment(environment));
        settings.lay_over(source::from_overrides(overrides));
        Ok(settings)
    }

    fn lay_over(&mut self, layer: Layer) {
        for (key, mut given) in layer {
            let is_elsewhere = matches!(given.origin, Origin::Variable(_));
            if is_elsewhere
                && !self.values.contains_key(&key)
                && programs::owner(self.programs, &key).is_some()
            {
                continue;
            }
            let cleaned = given.clean().map_err(|error| error.to_string());
            match cleaned.err().or_else(|| self.objection(&key, &given)) {
                Some(why) => {
                    let key = secret::shown_key(&key);
                    self.error(format!("{key} (from {}): {why}", given.origin));
                }
                None if given.shape == Shape::EmptySection => {}
                None => {
                    self.values.insert(key, given);
                }
            }
        }
    }

    /// Why a key cannot be set to this.
    fn objection(&self, key: &str, given: &Given) -> Option<String> {
        let Some(known) = self.values.get(key) else {
            let section = format!("{key}.");
            return match given.shape {
                _ if !self.values.keys().any(|name| name.starts_with(&section)) => {
                    Some(self.unknown(key, &given.origin))
                }
                Shape::EmptySection => None,
                _ => Some(format!("expected a section with keys of its own, [{key}]")),
            };
        };
        match (&known.shape, &given.shape) {
            (_, Shape::EmptySection) => Some("expected a value, got a section".to_owned()),
            (Shape::List(_), Shape::Nested) => {
                Some("expected a list of texts, got lists or tables in it".to_owned())
            }
            (Shape::Plain, Shape::List(_) | Shape::Nested) => {
                Some("expected one value, got a list".to_owned())
            }
            _ => secret::misplaced(key, &given.text, &given.origin).map(ToOwned::to_owned),
        }
    }

    /// What to say of a key that this program does not have.
    fn unknown(&self, key: &str, origin: &Origin) -> String {
        if let Some(program) = programs::owner(self.programs, key) {
            return format!("this is a key of {program}");
        }
        if let Some(name) = suggest::closest(key, self.values.keys()) {
            return format!("unknown key, did you mean {name}?");
        }
        // The environment may hold what is meant for another program.
        let others =
            programs::keys(self.programs).filter(|_| matches!(origin, Origin::Variable(_)));
        let others: BTreeMap<String, &str> = others.collect();
        let other =
            suggest::closest(key, others.keys()).and_then(|name| others.get_key_value(name));
        match other {
            Some((name, program)) => format!("unknown key, did you mean {name} of {program}?"),
            None => "unknown key".to_owned(),
        }
    }

    fn given(&mut self, key: &str) -> Given {
        if let Some(given) = self.values.get(key) {
            return given.clone();
        }
        self.error(format!("{key}: missing in the compiled-in defaults"));
        Given::plain(String::new(), Origin::Default)
    }

    pub(crate) fn error(&mut self, line: String) {
        if !self.errors.contains(&line) {
            self.errors.push(line);
        }
    }

    /// Records that a value cannot be used, for a reason of the caller's.
    pub fn reject(&mut self, key: &str, why: &str) {
        let given = self.given(key);
        let value = secret::shown(key, &given.text);
        self.error(format!("{key} = {value} (from {}): {why}", given.origin));
    }

    fn parsed<T: Clone>(
        &mut self,
        key: &str,
        expected: &str,
        fallback: T,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let given = self.given(key);
        parse(given.text.trim()).unwrap_or_else(|| {
            self.reject(key, &format!("expected {expected}"));
            fallback
        })
    }

    /// A value whose parser says what is expected.
    fn bounded<T>(
        &mut self,
        key: &str,
        fallback: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        parse(&self.given(key).text).unwrap_or_else(|expected| {
            self.reject(key, &expected);
            fallback
        })
    }

    /// A text; may be empty.
    pub fn text(&mut self, key: &str) -> String {
        self.given(key).text
    }

    /// A URL that may hold a token or a password; may be empty.
    pub fn url(&mut self, key: &str) -> SecretUrl {
        self.given(key).text.into()
    }

    /// One of a few words.
    pub fn choice(&mut self, key: &str, words: &[&str]) -> String {
        let expected = format!("one of {}", words.join(", "));
        let fallback = words.first().copied().unwrap_or_default().to_owned();
        self.parsed(key, &expected, fallback, |text| words.contains(&text).then(|| text.to_owned()))
    }

    /// A list of texts; from the environment and flags separated by semicolons.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        let given = self.given(key);
        if let Shape::List(items) = given.shape {
            return items;
        }
        let items = given.text.split(';').map(str::trim).filter(|item| !item.is_empty());
        items.map(ToOwned::to_owned).collect()
    }

    /// A whole number within a range.
    pub fn integer<T>(&mut self, key: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
    {
        self.bounded(key, range.start().clone(), bounded::whole(range))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> bool {
        self.parsed(key, "true or false", false, |text| text.parse().ok())
    }

    /// A time such as `250ms`, `2s` or `15days`, within a range.
    pub fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        self.bounded(key, *range.start(), bounded::duration(range))
    }

    /// A size such as `4 MiB` or `4096` (bytes), within a range.
    pub fn bytes(&mut self, key: &str, range: RangeInclusive<usize>) -> usize {
        self.bounded(key, *range.start(), bounded::bytes(range))
    }

    /// An address to listen on such as `0.0.0.0:8000`; empty: none.
    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let expected = "an IP address and a port like 0.0.0.0:8000 or [::]:8000, or nothing";
        self.parsed(key, expected, None, |text| {
            if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
        })
    }

    /// Host under which others reach a server.
    pub fn host(&mut self, key: &str) -> String {
        let host = self.text(key);
        if let Err(why) = check_reachable(&host) {
            self.reject(key, why);
        }
        host
    }

    /// The same, or nothing.
    pub fn optional_host(&mut self, key: &str) -> String {
        if self.given(key).text.is_empty() { String::new() } else { self.host(key) }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// With everything that was wrong, in one go.
    pub fn finish(self) -> Result<(), SettingsError> {
        if self.errors.is_empty() { Ok(()) } else { Err(SettingsError(self.errors)) }
    }
}
