//! Whole servers in one process, on a registry in memory.

mod freeze;
mod lifecycle;
mod overload;
mod owed;
mod registry;
mod stamps;
mod support;
mod sync;
