//! The limit of open files of this process: each connection takes one.
//!
//! Most systems set the soft limit low, for the sake of programs that use `select`, and the hard one
//! high, for those that do not.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for all but clients, links in their handshake and the monitor port: links, listeners,
/// registry, store, clients that wait for a place.
pub const FILES_RESERVED: usize = 256;

/// What some systems allow at most where their hard limit says that there is none (macOS).
const SURELY_ALLOWED: u64 = 10_240;

/// Raises the soft limit to the hard one, and returns the limit from now on; `None`: there is none.
/// Processes that are started later inherit it.
pub fn raise_open_files() -> Option<u64> {
    let own = getrlimit(Resource::Nofile);
    for wanted in [own.maximum, Some(SURELY_ALLOWED)] {
        // `None`, no limit, is above all.
        let is_higher = own.current.is_some_and(|now| wanted.is_none_or(|wanted| now < wanted));
        let is_set = || {
            let limit = Rlimit { current: wanted, maximum: own.maximum };
            setrlimit(Resource::Nofile, limit).is_ok()
        };
        if is_higher && is_set() {
            break;
        }
    }
    // Where nothing could be set, it is what it was.
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files(), hard);
        assert_eq!(raise_open_files(), hard);
    }
}
