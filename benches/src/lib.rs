//! What is measured of the pure parts: each scenario once, for the benches, which tell times, and
//! for `scripts/instructions`, which counts instructions.
//!
//! All input is made from numbers that never change, so a count is the same in every run.

// The tests of the sources that `fan_out` includes run where these belong.
#![cfg(not(test))]

mod directory;
mod fan_out;
mod link;
// What the gateway's outbox needs.
#[allow(dead_code, reason = "a scenario needs only a part of it")]
#[rustfmt::skip]
#[path = "../../gateway/src/memory.rs"]
mod memory;
mod metrics;
// What the logic server's answers need.
#[allow(dead_code, reason = "a scenario needs only a part of it")]
#[rustfmt::skip]
#[path = "../../logic/src/notes.rs"]
mod notes;
mod packet;
mod selector;
mod websocket;

use std::fmt;

// What the sources that `fan_out` includes name by `crate::`.
use imago_logic::{Reject, Session};

pub use directory::DIRECTORY;
pub use fan_out::FAN_OUT;
pub use link::LINK;
pub use packet::PACKET;
pub use selector::SELECTOR;
pub use websocket::WEBSOCKET;

/// One thing that is measured.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, for example `link/encode-request`.
    pub name: &'static str,
    prepare: fn() -> Run,
}

impl Scenario {
    const fn new(name: &'static str, prepare: fn() -> Run) -> Self {
        Self { name, prepare }
    }

    /// Makes the input of one run.
    pub fn prepare(&self) -> Run {
        (self.prepare)()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All scenarios, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [PACKET, WEBSOCKET, LINK, SELECTOR, DIRECTORY, FAN_OUT].into_iter().flatten()
}

/// A scenario with its input, to be run once. Dropping the input is not part of the run.
pub struct Run {
    operations: usize,
    work: Box<dyn FnMut()>,
}

impl Run {
    /// Does `operation` so often; it is told how often it was done before.
    fn times(operations: usize, mut operation: impl FnMut(usize) + 'static) -> Self {
        let work = move || {
            for number in 0..operations {
                operation(number);
            }
        };
        Self { operations, work: Box::new(work) }
    }

    /// Works off batches, each of so many operations.
    fn batches<T: 'static>(
        mut batches: Vec<T>,
        operations_each: usize,
        mut batch: impl FnMut(&mut T) + 'static,
    ) -> Self {
        let operations = batches.len() * operations_each;
        Self { operations, work: Box::new(move || batches.iter_mut().for_each(&mut batch)) }
    }

    /// How many operations the run is made of.
    pub fn operations(&self) -> usize {
        self.operations
    }

    /// Does them.
    pub fn work(&mut self) {
        (self.work)();
    }
}
