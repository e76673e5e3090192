//! Whole servers in one process, on a registry in memory.

mod lifecycle;
mod registry;
mod support;
