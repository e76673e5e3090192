//! The channel ids of a client's sessions: which one the next login replaces.

use std::collections::VecDeque;

/// Sessions that are remembered. Overflow policy: the oldest is forgotten; a session that is replaced
/// lives on for some seconds at most, where its gateway died.
const REMEMBERED: usize = 16;

/// Channel ids of the sessions that one client has had, the newest last.
#[derive(Debug, Default)]
pub(super) struct Channels(VecDeque<String>);

// === impl Channels ===

impl Channels {
    /// The session that the next login replaces; empty where there was none.
    pub(super) fn last(&self) -> &str {
        self.0.back().map_or("", String::as_str)
    }

    /// A session was opened, or is the one that lives after all.
    pub(super) fn push(&mut self, channel: &str) {
        self.0.retain(|known| known != channel);
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(channel.to_owned());
    }

    /// Returns whether one of the client's sessions had this id.
    pub(super) fn contains(&self, channel: &str) -> bool {
        self.0.iter().any(|known| known == channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_the_last_and_the_oldest_are_forgotten() {
        let mut channels = Channels::default();
        assert_eq!(channels.last(), "");
        for number in 0..=REMEMBERED {
            channels.push(&number.to_string());
            assert_eq!(channels.last(), number.to_string());
        }
        assert!(!channels.contains("0") && channels.contains("1"));
        channels.push("1");
        assert_eq!((channels.last(), channels.0.len()), ("1", REMEMBERED));
        assert!(channels.contains("2"));
    }
}
