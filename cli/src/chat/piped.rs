//! Lines from a pipe, each of them whatever it is.

use std::io::{self, BufRead, Read};

/// Bytes of a line: more than any message takes.
pub(super) const LINE_MAX: usize = 64 * 1024;

/// Reads the next line, without its end; `None` at the end of the input, and in it `Err` with what is
/// wrong with a line that is none.
///
/// # Errors
/// When the input cannot be read.
pub(super) fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, String>>> {
    let mut line = Vec::new();
    // One more tells whether it is too long.
    let most = LINE_MAX as u64 + 2;
    input.by_ref().take(most).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() > LINE_MAX {
        input.skip_until(b'\n')?;
    }
    line.pop_if(|last| *last == b'\r');
    Ok(Some(text(line)))
}

fn text(line: Vec<u8>) -> Result<String, String> {
    if line.len() > LINE_MAX {
        return Err(format!("a line is dropped: expected at most {LINE_MAX} bytes"));
    }
    String::from_utf8(line).map_err(|error| {
        format!(
            "a line is dropped: expected UTF-8, byte {} is not",
            error.utf8_error().valid_up_to() + 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Result<String, String>> {
        let mut input = io::BufReader::with_capacity(7, input);
        std::iter::from_fn(|| next_line(&mut input).unwrap()).collect()
    }

    #[test]
    fn a_line_that_is_none_does_not_end_the_others() {
        let long = "x".repeat(LINE_MAX + 5);
        let input = [b"one\r\n\xff\xfe\n\n", long.as_bytes(), b"\nt\0wo\nab\xc3\nlast"].concat();
        let read = lines(&input);
        let (ok, bad): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
        let ok: Vec<String> = ok.into_iter().map(Result::unwrap).collect();
        assert_eq!(ok, ["one", "", "t\0wo", "last"]);
        let bad: Vec<String> = bad.into_iter().map(Result::unwrap_err).collect();
        assert_eq!(bad.len(), 3);
        assert!(bad[0].contains("byte 1 is not"), "{bad:?}");
        assert!(bad[1].contains("expected at most 65536 bytes"), "{bad:?}");
        assert!(bad[2].contains("byte 3 is not"), "{bad:?}");
    }

    #[test]
    fn the_longest_line_is_taken() {
        let long = "x".repeat(LINE_MAX);
        let read = lines(format!("{long}\n{long}\r\n{long}y\n{long}").as_bytes());
        let lengths: Vec<usize> =
            read.iter().map(|line| line.as_ref().map_or(0, String::len)).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 0, LINE_MAX]);
    }
}
