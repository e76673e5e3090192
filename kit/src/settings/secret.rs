//! Values that are never shown: given in files and the environment.

use crate::{HIDDEN, Redacted, RedactedPath, Secret, read_secret};

use super::{Settings, source, source::Origin};

/// Keys whose last part ends so are secrets.
const SECRETS: [&str; 3] = ["secret", "token", "password"];
/// Longest value that is shown, in characters.
const SHOWN_MAX: usize = 200;
/// Longest key that is shown, in bytes.
const KEY_MAX: usize = 48;

impl Settings {
    /// A secret of at least `min_len` bytes, given as it is or in the file that `<key>_file`
    /// names. Empty where neither is given and `min_len` is 0.
    pub fn secret(&mut self, key: &str, min_len: usize) -> Secret {
        let (secret, from) = self.read_secret(key);
        if secret.len() < min_len {
            self.refuse_short(key, &secret, &from, min_len);
        }
        secret
    }

    /// A secret that may be left out, of at least `min_len` bytes where it is given.
    pub fn optional_secret(&mut self, key: &str, min_len: usize) -> Option<Secret> {
        let (secret, from) = self.read_secret(key);
        if secret.is_empty() {
            return None;
        }
        if secret.len() < min_len {
            self.refuse_short(key, &secret, &from, min_len);
        }
        Some(secret)
    }

    /// The secret, and where it came from.
    fn read_secret(&mut self, key: &str) -> (Secret, String) {
        let inline = self.given(key);
        let inline_from = inline.origin.to_string();
        let file_key = format!("{key}_file");
        let file = self.values.get(&file_key).filter(|file| !file.text.is_empty()).cloned();
        let Some(file) = file else { return (inline.text.into(), inline_from) };
        if !inline.text.is_empty() {
            if inline.origin.rank() > file.origin.rank() {
                return (inline.text.into(), inline_from);
            }
            if inline.origin.rank() == file.origin.rank() {
                self.reject(&file_key, &format!("expected either this or {key}, not both"));
                return (inline.text.into(), inline_from);
            }
        }
        let path = file.text.as_ref();
        match read_secret(path) {
            Ok(secret) => (secret, RedactedPath(path).to_string()),
            Err(error) => {
                self.reject(&file_key, &error.to_string());
                (inline.text.into(), inline_from)
            }
        }
    }

    fn refuse_short(&mut self, key: &str, secret: &Secret, from: &str, min_len: usize) {
        let file_key = format!("{key}_file");
        if self.errors.iter().any(|error| error.starts_with(&file_key)) {
            return;
        }
        let variable = source::variable(key);
        let ways = if self.values.contains_key(&file_key) {
            format!("in the file, as {variable}, or in the file that {file_key} names")
        } else {
            format!("in the file, or as {variable}")
        };
        let length = secret.len();
        self.error(format!(
            "{key} (from {from}): expected at least {min_len} bytes, got {length}; set it {ways}"
        ));
    }
}

/// Why a value may not come from there.
pub(super) fn misplaced(key: &str, text: &str, origin: &Origin) -> Option<&'static str> {
    if *origin != Origin::Flag {
        return None;
    }
    if is_secret(key) {
        return Some(
            "secrets are taken only from a file or the environment, where other users cannot see them",
        );
    }
    Redacted(text).holds_secret().then_some(
        "a URL with a token or password is taken only from a file or the environment, where other users cannot see it",
    )
}

/// A value as it may be shown.
pub(super) fn shown(key: &str, text: &str) -> String {
    if is_secret(key) {
        HIDDEN.to_owned()
    } else if key.ends_with("_file") {
        format!("{:?}", RedactedPath(text.as_ref()))
    } else if key.ends_with("url") || text.contains("://") {
        format!("{:?}", Redacted(text))
    } else if text.chars().count() > SHOWN_MAX {
        format!("{:?}…", text.chars().take(SHOWN_MAX).collect::<String>())
    } else {
        format!("{text:?}")
    }
}

/// A key as it may be shown: in the place of an unknown key, a value may stand by mistake.
pub(super) fn shown_key(key: &str) -> &str {
    let is_key_byte =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte);
    let is_key = (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(is_key_byte);
    if is_key { key } else { HIDDEN }
}

fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|ending| key.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_what_their_keys_take() {
        let long = "x".repeat(SHOWN_MAX + 1);
        for (key, text, expected) in [
            ("monitor.admin_token", "abc", "(hidden)"),
            ("auth.jwt_secret_file", "abc", "\"(hidden)\""),
            ("auth.jwt_secret_file", "/run/jwt", "\"/run/jwt\""),
            ("naming.url", "abc", "\"(hidden)\""),
            ("service.name", "consul://h?token=abc", "\"consul://h?token=(hidden)\""),
            ("forward.hold", "2h\n", "\"2h\\n\""),
            ("forward.hold", &long, &format!("{:?}…", "x".repeat(SHOWN_MAX))),
        ] {
            assert_eq!(shown(key, text), expected);
        }
        for (key, expected) in [
            ("forward.holt", "forward.holt"),
            ("", HIDDEN),
            ("postgres://me:abc@h?sslmode", HIDDEN),
            ("aB3", HIDDEN),
            (&long, HIDDEN),
        ] {
            assert_eq!(shown_key(key), expected);
        }
    }
}
