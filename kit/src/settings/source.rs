//! The layers of a configuration, each as a flat list of keys.

use std::{collections::BTreeMap, fmt, ops::Range, path::Path};

use crate::{InputError, line, read_text};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

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
    let mut layer = Layer::new();
    let table = DeTable::parse(text)
        .map_err(|error| (error.span(), error.message().replace('\n', ": ")))
        .and_then(|table| flatten("", table.into_inner(), origin, &mut layer));
    // Without the lines of the file, which may hold a secret.
    table.map_err(|(span, why)| {
        let place = place(text, span.map_or(0, |span| span.start));
        SettingsError(vec![format!("{origin}: not TOML: {place}: {why}")])
    })?;
    Ok(layer)
}

/// The line and the column of a byte, both from 1.
fn place(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    format!("line {}, column {}", before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Where a file is wrong, and why.
type Wrong = (Option<Range<usize>>, String);

fn flatten(
    prefix: &str,
    table: DeTable<'_>,
    origin: &Origin,
    into: &mut Layer,
) -> Result<(), Wrong> {
    for (key, value) in table {
        let key = key.into_inner();
        let key = if prefix.is_empty() { key.into_owned() } else { format!("{prefix}.{key}") };
        let (text, shape) = match value.get_ref() {
            DeValue::Table(table) if table.is_empty() => (String::new(), Shape::EmptySection),
            DeValue::Table(_) => {
                if let DeValue::Table(table) = value.into_inner() {
                    flatten(&key, table, origin, into)?;
                }
                continue;
            }
            DeValue::Array(items) => list(items)?,
            _ => (plain(&value)?, Shape::Plain),
        };
        into.insert(key, Given { text, shape, origin: origin.clone() });
    }
    Ok(())
}

fn list(items: &[Spanned<DeValue<'_>>]) -> Result<(String, Shape), Wrong> {
    if items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_) | DeValue::Array(_))) {
        return Ok((String::new(), Shape::Nested));
    }
    let items = items.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    Ok((items.join(";"), Shape::List(items)))
}

/// A value that is no table and no array, in its usual form: `0x10` is 16.
fn plain(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let wrong = |why: &str| (Some(value.span()), why.to_owned());
    Ok(match value.get_ref() {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| wrong("expected an integer of 64 bits"))?
            .to_string(),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(float) if !float.is_infinite() || number.as_str().contains("inf") => {
                float.to_string()
            }
            _ => return Err(wrong("expected a number that a float can hold")),
        },
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => String::new(),
    })
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
