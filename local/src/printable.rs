//! Texts of others as they are shown.

/// The text without what commands a terminal, or has it show something else than what is there: controls,
/// line separators, and marks that turn the direction of what follows.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_commands_in_texts_are_harmless() {
        let tricked = "hi\x1b[2J\x07\r\u{202e}evil\0";
        assert_eq!(printable(tricked), "hi\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}evil\u{fffd}");
        // Of one byte, and of the upper half of Latin-1.
        assert_eq!(printable("\x7f\u{9b}31m\u{2028}"), "\u{fffd}\u{fffd}31m\u{fffd}");
    }

    #[test]
    fn texts_of_all_languages_stay_as_they_are() {
        for text in ["schön 👋", "e\u{301}", "日本語", "שלום", "👩\u{200d}🚀", "مرحبا"]
        {
            assert_eq!(printable(text), text);
        }
    }
}
