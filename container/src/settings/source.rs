//! The layers of a configuration, each as a flat list of keys.

use std::{collections::BTreeMap, fmt, path::Path};

use config::{Config, File, FileFormat, Value, ValueKind};

use super::SettingsError;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(String),
    Variable(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => f.write_str(path),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// A value as it was given.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    /// Set for TOML arrays.
    pub(super) items: Option<Vec<String>>,
    pub(super) origin: Origin,
}

/// Values may be secrets.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(from {})", self.origin)
    }
}

pub(super) fn read_file(path: &Path) -> Result<BTreeMap<String, Given>, SettingsError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError(vec![format!("{name}: cannot be read: {error}")]))?;
    read_toml(&text, &Origin::File(name))
}

pub(super) fn read_toml(
    text: &str,
    origin: &Origin,
) -> Result<BTreeMap<String, Given>, SettingsError> {
    let config = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    let config =
        config.map_err(|error| SettingsError(vec![format!("{origin}: not TOML: {error}")]))?;
    let mut values = BTreeMap::new();
    flatten("", &config.cache, origin, &mut values);
    Ok(values)
}

fn flatten(prefix: &str, value: &Value, origin: &Origin, into: &mut BTreeMap<String, Given>) {
    let items = match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, origin, into);
            }
            return;
        }
        ValueKind::Array(items) => {
            Some(items.iter().map(|item| item.kind.to_string()).collect::<Vec<_>>())
        }
        _ => None,
    };
    let text = items.as_ref().map_or_else(|| value.kind.to_string(), |items| items.join(";"));
    into.insert(prefix.to_owned(), Given { text, items, origin: origin.clone() });
}

/// Variables `IMAGO_SECTION__KEY`; others that begin with `IMAGO_` mean something else.
pub(super) fn from_environment(
    variables: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, Given> {
    variables
        .filter_map(|(name, text)| {
            let key = name.strip_prefix("IMAGO_")?;
            key.contains("__").then(|| key.to_lowercase().replace("__", ".")).map(|key| {
                (key, Given { text, items: None, origin: Origin::Variable(name.clone()) })
            })
        })
        .collect()
}

/// Name of the variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("IMAGO_{}", key.replace('.', "__").to_uppercase())
}

pub(super) fn from_overrides(overrides: &[(String, String)]) -> BTreeMap<String, Given> {
    overrides
        .iter()
        .map(|(key, text)| {
            (key.clone(), Given { text: text.clone(), items: None, origin: Origin::Flag })
        })
        .collect()
}

/// The known key that is most like a mistyped one, if any is much like it.
pub(super) fn closest<'a>(
    key: &str,
    known: impl Iterator<Item = &'a String>,
) -> Option<&'a String> {
    let scored = known.map(|name| (distance(key, name), name));
    scored.min().filter(|(distance, _)| *distance <= 3).map(|(_, name)| name)
}

/// Edits that turn one word into another (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let edited = (diagonal + usize::from(from != to)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, edited);
            left = edited;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
