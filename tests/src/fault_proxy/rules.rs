//! What a proxy does to the bytes of each direction.

use std::{collections::HashMap, time::Duration};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the dialer to the server.
    Forth,
    /// From the server to the dialer.
    Back,
}

/// What happens to the bytes of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pass {
    /// They pass at once.
    #[default]
    Through,
    /// They pass after a time.
    Delay(Duration),
    /// They are not read: they wait in the sockets of both ends, and pass once this is over.
    Hold,
    /// They are read and thrown away. A stream with a hole is none: once this is over, connections
    /// that lost bytes are reset.
    Drop,
}

/// Everything that connections have to follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// `host:port` of the server.
    pub(super) target: Option<String>,
    all: [Pass; 2],
    by_name: HashMap<String, [Pass; 2]>,
    pub(super) breaks: Breaks,
}

/// How often connections were ended: those that began before the last time end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaks {
    pub(super) closed: u64,
    pub(super) reset: u64,
}

impl Rules {
    pub(super) fn set(&mut self, name: Option<&str>, way: Way, pass: Pass) {
        let ways = match name {
            None => &mut self.all,
            Some(name) => self.by_name.entry(name.to_owned()).or_default(),
        };
        match way {
            Way::Forth => ways[0] = pass,
            Way::Back => ways[1] = pass,
        }
    }

    pub(super) fn heal(&mut self) {
        self.all = <[Pass; 2]>::default();
        self.by_name.clear();
    }

    /// What is said of one dialer counts where it is not `Through`.
    pub(super) fn of(&self, name: &str, way: Way) -> Pass {
        let place = match way {
            Way::Forth => 0,
            Way::Back => 1,
        };
        let own = self.by_name.get(name).map_or(Pass::Through, |ways| ways[place]);
        if own == Pass::Through { self.all[place] } else { own }
    }
}
