//! Times, sizes and numbers within bounds, as settings and flags take them.
//!
//! Each function returns a parser: of a text to its value, or to the words that say what was
//! expected.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

/// Parses a time such as `250ms`, `2s`, `1m 30s` or `15days` within `range`.
pub fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let text = text.trim();
        let time =
            if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() };
        time.filter(|time| range.contains(time)).ok_or_else(|| {
            let (least, most) = (in_words(*range.start()), in_words(*range.end()));
            format!("expected a time like 250ms or 2s, from {least} to {most}")
        })
    }
}

/// Returns a time as [`duration`] reads it.
pub fn in_words(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// Parses a size such as `64 KiB`, `4 MiB` or `4096` (bytes) within `range`.
pub fn bytes(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        parse_bytes(text.trim()).filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("expected a size like 64 KiB or 4 MiB, from {least} to {most} bytes")
        })
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.replace('_', "").parse().ok()?;
    let factor: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Parses a whole number such as `10000` or `10_000` within `range`.
pub fn whole<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().replace('_', "").parse().ok();
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            format!("expected a whole number from {} to {}", range.start(), range.end())
        })
    }
}

/// Parses a number such as `3` or `0.25` within `range`.
pub fn number(
    range: RangeInclusive<f64>,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        // Ranges hold neither NaN nor, with finite ends, infinity.
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn times_are_taken_within_bounds() {
        let parse = duration(Duration::from_millis(100)..=DAY);
        for (text, millis) in
            [("250ms", 250), (" 2s\n", 2000), ("1m 30s", 90_000), ("1day", 86_400_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "0",
            "99ms",
            "1day 1ms",
            "2",
            "-1s",
            "soon",
            "1e9s",
            "18446744073709551615s",
            "18446744073709551616s",
            "18446744073709551615years",
            "999999999999999999999999999999999999999999999999999s",
            "9223372036854775807s 9223372036854775807s 9223372036854775807s",
            "1s\u{0}",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, "expected a time like 250ms or 2s, from 100ms to 1day", "{text:?}");
        }
        assert_eq!(duration(Duration::ZERO..=DAY)("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn sizes_are_taken_within_bounds() {
        let parse = bytes(1..=usize::MAX);
        for (text, size) in
            [("1", 1), ("4 KiB", 4096), ("4KiB", 4096), ("1_000 B", 1000), ("2 GiB", 2 << 30)]
        {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for text in
            ["", "0", "-1", "KiB", "4 KB", "18446744073709551615 GiB", "18446744073709551616"]
        {
            assert!(parse(text).unwrap_err().contains("from 1 to 18446744073709551615 bytes"));
        }
    }

    #[test]
    fn numbers_are_taken_within_bounds() {
        let parse = whole(1..=1000_usize);
        assert_eq!(parse("1_000"), Ok(1000));
        for text in ["", "0", "-1", "1001", "1.5", "1e3", "18446744073709551616", "x"] {
            assert_eq!(parse(text).unwrap_err(), "expected a whole number from 1 to 1000");
        }
        let parse = number(0.5..=2.0);
        assert_eq!(parse("1.25"), Ok(1.25));
        for text in ["", "0", "-1", "2.1", "NaN", "inf", "-inf", "1e308", "1e999", "x"] {
            assert_eq!(parse(text).unwrap_err(), "expected a number from 0.5 to 2");
        }
    }
}
