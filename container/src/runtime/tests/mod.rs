//! Whole servers in one process, on a registry in memory.

mod lifecycle;
mod overload;
mod registry;
mod support;
mod sync;
