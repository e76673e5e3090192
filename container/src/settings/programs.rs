//! The programs of a cluster, and which keys each of them has.
//!
//! Programs of one machine often share their environment: what is a key of one is known to all. The
//! lists are the default files themselves, as they are compiled into the programs.

use super::source::{self, Origin};

/// Each program with its defaults, which hold all of its keys.
const PROGRAMS: [(&str, &str); 2] = [
    ("gateway", include_str!("../../../gateway/gateway.toml")),
    ("logic", include_str!("../../../logic/logic.toml")),
];

/// All keys, each with the program that has it; those of several programs several times.
pub(super) fn keys() -> impl Iterator<Item = (String, &'static str)> {
    PROGRAMS.into_iter().flat_map(|(program, defaults)| {
        let keys = source::read_toml(defaults, &Origin::Default).unwrap_or_default();
        keys.into_keys().map(move |key| (key, program))
    })
}

/// The program that has this key.
pub(super) fn owner(key: &str) -> Option<&'static str> {
    keys().find(|(known, _)| known == key).map(|(_, program)| program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_keys_of_its_own() {
        assert_eq!(owner("auth.jwt_secret"), Some("gateway"));
        assert_eq!(owner("store.url"), Some("logic"));
        assert_eq!(owner("auth.jwt_secrt"), None);
    }
}
