//! Texts from outside: files and environment variables, read in one way everywhere.
//!
//! A byte-order mark at the head of a file is no part of its text, nor is white space around a value
//! of one line. What cannot be meant is an error in words: another encoding than UTF-8, a NUL byte, a
//! folder, nothing at all, or more than a limit. No error repeats what was read.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::mpsc,
    time::Duration,
};

use crate::Secret;

/// Longest file with one secret or token, in bytes.
const SECRET_FILE_MAX: u64 = 64 << 10;
/// How long a pipe or a device may take to give all that it has: `<(command)` of a shell is a pipe.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);
/// Byte-order mark (Unicode 23.8).
const BOM: char = '\u{feff}';

/// Why a text cannot be used. Names neither the file nor the variable: the caller does.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("expected a readable file: {0}")]
    Unreadable(io::Error),
    /// A folder stands where a file should.
    #[error("expected a file, got a folder")]
    Folder,
    /// A pipe or a device does not come to its end.
    #[error("expected a file, or a pipe that ends within {0:?}, got one that does not")]
    Endless(Duration),
    /// Nothing is in the file.
    #[error("expected a file that holds something, got an empty one")]
    Empty,
    /// The file is longer than it may be.
    #[error("expected a file of at most {0} bytes, got a longer one")]
    TooLong(u64),
    /// The text is in another encoding.
    #[error("expected UTF-8, got {0}")]
    Encoding(&'static str),
    /// The text is not UTF-8.
    #[error("expected UTF-8, got something else at byte {0}")]
    NotUtf8(usize),
    /// The text has a NUL byte in it.
    #[error("expected UTF-8 text, got a NUL byte at byte {0}: UTF-16, or no text at all")]
    Nul(usize),
    /// A value of one line has a control character in it.
    #[error(
        "expected one line without control characters, got one (U+{code:04X}) at character {at}"
    )]
    Control {
        /// Its code point.
        code: u32,
        /// Its place among the characters, from 1.
        at: usize,
    },
}

// Its words are those of the cause, which is told once.
impl From<io::Error> for InputError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Reads a whole file of text.
///
/// # Errors
/// When it cannot be read, is a folder, is longer than `max` bytes, or is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> Result<String, InputError> {
    text_of(read_file(path, max)?)
}

/// Reads a whole file, of any content.
///
/// # Errors
/// When it cannot be read, is a folder, is longer than `max` bytes, or is a pipe that does not end
/// within 10 s.
pub fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, InputError> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(InputError::Folder);
    }
    let bytes =
        if kind.is_file() { read_up_to(path, max)? } else { read_pipe(path, max, PIPE_PATIENCE)? };
    if bytes.len() as u64 > max { Err(InputError::TooLong(max)) } else { Ok(bytes) }
}

/// Reads at most one byte more than `max`.
fn read_up_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same of what may never end, nor even open: a pipe waits for its writer. Its thread stays
/// behind where it is given up.
fn read_pipe(path: &Path, max: u64, patience: Duration) -> Result<Vec<u8>, InputError> {
    let (give, take) = mpsc::sync_channel(1);
    let path = path.to_owned();
    std::thread::Builder::new().spawn(move || give.send(read_up_to(&path, max)))?;
    take.recv_timeout(patience).map_err(|_| InputError::Endless(patience))?.map_err(Into::into)
}

/// Reads a file that holds one secret or token, and white space around it.
///
/// # Errors
/// As [`read_text`], and when it is empty, longer than 64 KiB, or has several lines.
pub fn read_secret(path: &Path) -> Result<Secret, InputError> {
    let text = read_text(path, SECRET_FILE_MAX)?;
    match line(&text)? {
        "" => Err(InputError::Empty),
        secret => Ok(secret.into()),
    }
}

/// Returns a value of one line without what surrounds it: white space and a byte-order mark.
///
/// # Errors
/// When a control character is in it.
pub fn line(text: &str) -> Result<&str, InputError> {
    let line = text.trim_matches(|c: char| c.is_whitespace() || c == BOM);
    match line.chars().enumerate().find(|(_, c)| c.is_control()) {
        Some((before, c)) => Err(InputError::Control { code: c.into(), at: before + 1 }),
        None => Ok(line),
    }
}

/// Returns the value of an environment variable as [`line()`] does; `None` where it is empty or not
/// set.
///
/// # Errors
/// When it is not UTF-8, or has a control character in it.
pub fn variable(name: &str) -> Result<Option<String>, InputError> {
    std::env::var_os(name).map_or(Ok(None), |value| variable_value(&value))
}

fn variable_value(value: &OsStr) -> Result<Option<String>, InputError> {
    let text = text_of(value.as_encoded_bytes().to_vec())?;
    Ok(Some(line(&text)?).filter(|line| !line.is_empty()).map(ToOwned::to_owned))
}

/// Returns bytes as text, without a byte-order mark at their head.
fn text_of(bytes: Vec<u8>) -> Result<String, InputError> {
    // The mark of UTF-32LE begins with that of UTF-16LE.
    for (mark, name) in [
        (&[0xff, 0xfe, 0, 0][..], "UTF-32 (its byte-order mark)"),
        (&[0, 0, 0xfe, 0xff], "UTF-32 (its byte-order mark)"),
        (&[0xff, 0xfe], "UTF-16 (its byte-order mark)"),
        (&[0xfe, 0xff], "UTF-16 (its byte-order mark)"),
    ] {
        if bytes.starts_with(mark) {
            return Err(InputError::Encoding(name));
        }
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(InputError::Nul(at + 1));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| InputError::NotUtf8(error.utf8_error().valid_up_to() + 1))?;
    Ok(text.strip_prefix(BOM).map(ToOwned::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    use super::*;

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    /// Reads a secret from a file with these bytes, and from a variable with the same.
    fn both(bytes: &[u8]) -> [Result<String, String>; 2] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let from_file = read_secret(file.path()).map(|secret| secret.expose().to_owned());
        let from_variable = variable_value(&OsString::from_vec(bytes.to_vec()));
        [
            from_file.map_err(|error| error.to_string()),
            from_variable.map(Option::unwrap_or_default).map_err(|error| error.to_string()),
        ]
    }

    #[test]
    fn what_surrounds_a_secret_is_no_part_of_it() {
        for text in [
            "se same",
            "se same\n",
            "se same\r\n",
            "\u{feff}se same\r\n",
            "\r\n \t se same \n\n",
            "\u{feff}\nse same\u{a0}",
            "\u{feff}\u{feff}se same\r",
        ] {
            for read in both(text.as_bytes()) {
                assert_eq!(read.as_deref(), Ok("se same"), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_an_error_that_does_not_repeat_it() {
        for (bytes, why) in [
            (b"sesame\0".to_vec(), "NUL byte at byte 7"),
            (utf16("sesame", u16::to_le_bytes), "NUL byte at byte 2: UTF-16"),
            (utf16("\u{feff}sesame", u16::to_le_bytes), "expected UTF-8, got UTF-16"),
            (utf16("\u{feff}sesame", u16::to_be_bytes), "expected UTF-8, got UTF-16"),
            (vec![0xff, 0xfe, 0, 0, b's', 0, 0, 0], "expected UTF-8, got UTF-32"),
            (b"sesam\xe9".to_vec(), "expected UTF-8, got something else at byte 6"),
            (
                b"sesame\nopen".to_vec(),
                "expected one line without control characters, got one (U+000A)",
            ),
            (b"sesame\x1b[2J".to_vec(), "(U+001B) at character 7"),
        ] {
            for read in both(&bytes) {
                let error = read.unwrap_err();
                assert!(error.contains(why) && !error.contains("sesam"), "{bytes:?}: {error}");
            }
        }
    }

    #[test]
    fn an_empty_file_is_an_error_and_an_empty_variable_is_none() {
        for text in ["", "\n", "\u{feff}", " \r\n"] {
            let [from_file, from_variable] = both(text.as_bytes());
            assert!(from_file.unwrap_err().contains("got an empty one"), "{text:?}");
            assert_eq!(from_variable.unwrap(), "", "{text:?}");
        }
        assert!(variable("IMAGO_KIT_NOT_SET").unwrap().is_none());
    }

    #[test]
    fn files_that_are_none_or_too_long_are_refused_without_being_read() {
        let refused = |path: &str| read_secret(Path::new(path)).unwrap_err().to_string();
        assert_eq!(refused("/tmp"), "expected a file, got a folder");
        assert_eq!(
            refused("/dev/zero"),
            "expected a file of at most 65536 bytes, got a longer one"
        );
        assert!(refused("/nowhere/at/all").contains("No such file"));
        let error = read_secret(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(std::error::Error::source(&error).is_none(), "the cause would be told twice");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read_text(file.path(), 5).unwrap(), "12345");
        assert!(read_text(file.path(), 4).unwrap_err().to_string().contains("at most 4 bytes"));
    }

    #[test]
    fn a_pipe_is_read_and_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = read_pipe(&pipe, 9, Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("a pipe that ends within 50ms"), "{error}");
        // The thread that was given up still holds the first one.
        let pipe = folder.path().join("another");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let to = pipe.clone();
        let writer = std::thread::spawn(move || std::fs::write(to, "sesame\n"));
        assert_eq!(read_secret(&pipe).unwrap().expose(), "sesame");
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_text_of_several_lines_loses_nothing_but_its_mark() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}a = 1\r\nb = 2\n").unwrap();
        assert_eq!(read_text(file.path(), 99).unwrap(), "a = 1\r\nb = 2\n");
    }
}
