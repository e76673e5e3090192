//! The layers of a configuration, each as a flat list of keys.

use std::{collections::BTreeMap, fmt, path::Path};

use crate::{InputError, line, read_text};
use config::{Config, File, FileFormat, Value, ValueKind};

use super::SettingsError;

/// Longest configuration file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// One layer: keys such as `forward.hold` with what was given for them.
pub(super) type Layer = BTreeMap<String, Given>;

/// Where a value came from; the later one wins.
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

impl Origin {
    /// Place in the order of layers.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Variable(_) => 2,
            Self::Flag => 3,
        }
    }
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value.
    Plain,
    /// A TOML array of plain values.
    List(Vec<String>),
    /// An array with arrays or tables in it.
    Nested,
    /// A table without keys.
    EmptySection,
}

/// A value as it was given.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) shape: Shape,
    pub(super) origin: Origin,
}

impl Given {
    pub(super) fn plain(text: String, origin: Origin) -> Self {
        Self { text, shape: Shape::Plain, origin }
    }

    /// Takes away what surrounds the value, or each of a list.
    pub(super) fn clean(&mut self) -> Result<(), InputError> {
        if let Shape::List(items) = &mut self.shape {
            for item in items {
                *item = line(item)?.to_owned();
            }
            return Ok(());
        }
        self.text = line(&self.text)?.to_owned();
        Ok(())
    }
}

/// Values may be secrets.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(from {})", self.origin)
    }
}

pub(super) fn read_file(path: &Path) -> Result<Layer, SettingsError> {
    let name = path.display().to_string();
    let text = read_text(path, FILE_MAX)
        .map_err(|error| SettingsError(vec![format!("{name}: {error}")]))?;
    read_toml(&text, &Origin::File(name))
}

pub(super) fn read_toml(text: &str, origin: &Origin) -> Result<Layer, SettingsError> {
    let config = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    let config = config.map_err(|error| {
        let why = without_excerpt(&error.to_string());
        SettingsError(vec![format!("{origin}: not TOML: {why}")])
    })?;
    let mut layer = Layer::new();
    flatten("", &config.cache, origin, &mut layer);
    Ok(layer)
}

/// A parser's message in one line, without the lines of the file that it shows: they may hold a
/// secret.
fn without_excerpt(message: &str) -> String {
    let is_excerpt = |line: &str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
    };
    let lines = message.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join(": ")
}

fn flatten(prefix: &str, value: &Value, origin: &Origin, into: &mut Layer) {
    let (text, shape) = match &value.kind {
        ValueKind::Table(table) if table.is_empty() => (String::new(), Shape::EmptySection),
        ValueKind::Table(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, origin, into);
            }
            return;
        }
        ValueKind::Array(items) => list(items),
        plain => (plain.to_string(), Shape::Plain),
    };
    if !prefix.is_empty() {
        into.insert(prefix.to_owned(), Given { text, shape, origin: origin.clone() });
    }
}

fn list(items: &[Value]) -> (String, Shape) {
    if items.iter().any(|item| matches!(item.kind, ValueKind::Table(_) | ValueKind::Array(_))) {
        return (String::new(), Shape::Nested);
    }
    let items: Vec<String> = items.iter().map(|item| item.kind.to_string()).collect();
    (items.join(";"), Shape::List(items))
}

/// Variables `IMAGO_SECTION__KEY`; others that begin with `IMAGO_` mean something else.
pub(super) fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Layer {
    let ours = variables.filter_map(|(name, text)| Some((key_of(&name)?, name, text)));
    ours.map(|(key, name, text)| (key, Given::plain(text, Origin::Variable(name)))).collect()
}

/// The key that a variable sets, if it is one of ours.
pub(super) fn key_of(variable: &str) -> Option<String> {
    let key = variable.strip_prefix("IMAGO_")?;
    key.contains("__").then(|| key.to_lowercase().replace("__", "."))
}

/// Name of the variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("IMAGO_{}", key.replace('.', "__").to_uppercase())
}

pub(super) fn from_overrides(overrides: &[(String, String)]) -> Layer {
    let owned = overrides.iter().cloned();
    owned.map(|(key, text)| (key, Given::plain(text, Origin::Flag))).collect()
}
