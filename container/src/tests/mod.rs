//! Whole servers in one process, on a registry in memory.

mod fitness;
mod freeze;
mod isolation;
mod lifecycle;
mod maintenance;
mod overload;
mod owed;
mod registry;
mod stamps;
mod support;
mod sync;
mod twins;
