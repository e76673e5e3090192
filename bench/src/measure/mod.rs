//! What is measured: times, rates, processors and memory.

pub(crate) mod cpu;
pub(crate) mod memory;
pub(crate) mod meter;
pub(crate) mod recorder;
pub(crate) mod recovery;
pub(crate) mod run;
pub(crate) mod seen;
pub(crate) mod stamp;
pub(crate) mod usage;
