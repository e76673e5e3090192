//! Finds the key that a mistyped one was meant to be.

/// Longest key that is compared, in bytes: twice the longest that is known.
const KEY_MAX: usize = 64;

/// The known key that is most like a mistyped one, if any is much like it: a few letters off, or
/// the same name in another section.
pub(super) fn closest<'a>(
    key: &str,
    known: impl Iterator<Item = &'a String>,
) -> Option<&'a String> {
    if key.len() > KEY_MAX {
        return None;
    }
    let scored = known.map(|name| (unlikeness(key, name), name));
    scored.min().filter(|(unlikeness, _)| *unlikeness <= 3).map(|(_, name)| name)
}

fn unlikeness(key: &str, name: &str) -> usize {
    let letters = strsim::levenshtein(key, name);
    if last_part(key) == last_part(name) { letters.min(3) } else { letters }
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_and_a_wrong_section_are_understood_and_nonsense_is_not() {
        let known = ["forward.hold", "forward.held", "link.park"].map(ToOwned::to_owned);
        let closest = |key| closest(key, known.iter()).map(String::as_str);
        assert_eq!(closest("forward.holt"), Some("forward.hold"));
        assert_eq!(closest("foward.held"), Some("forward.held"));
        assert_eq!(closest("promotion.park"), Some("link.park"));
        assert_eq!(closest("something.else"), None);
    }
}
