//! The programs that share an environment, and which keys each of them has.
//!
//! Programs of one machine often share their environment: a key of one is known to all.

use super::source::{self, Origin};

/// A program with its default configuration, which holds all of its keys.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Name of the program.
    pub name: &'static str,
    /// TOML with every key that it has.
    pub defaults: &'static str,
}

/// Returns all keys, each with the program that has it; those of several programs several times.
pub(super) fn keys(programs: &[Program]) -> impl Iterator<Item = (String, &'static str)> {
    programs.iter().flat_map(|program| {
        let keys = source::read_toml(program.defaults, &Origin::Default).unwrap_or_default();
        keys.into_keys().map(|key| (key, program.name))
    })
}

/// Returns the program that has this key.
pub(super) fn owner(programs: &[Program], key: &str) -> Option<&'static str> {
    keys(programs).find(|(known, _)| known == key).map(|(_, program)| program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_keys_of_its_own() {
        let programs = [
            Program { name: "kitchen", defaults: "[oven]\nheat = 1" },
            Program { name: "garden", defaults: "[bed]\nroses = 1" },
        ];
        assert_eq!(owner(&programs, "oven.heat"), Some("kitchen"));
        assert_eq!(owner(&programs, "bed.roses"), Some("garden"));
        assert_eq!(owner(&programs, "bed.rose"), None);
    }
}
