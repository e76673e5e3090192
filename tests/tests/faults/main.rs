//! Gray failures of real processes: servers that freeze, links that swallow, machines that vanish,
//! databases that are away. Afterwards every device has everything.
//!
//! Each kind of fault has rounds whose seeds decide what exactly happens. A few run always;
//! `IMAGO_FAULT_ROUNDS=100 IMAGO_FAULT_SEED=7 cargo test -p imago-tests --test faults round` runs more,
//! and prints for each kind how they went.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

mod cluster;
mod crowd;
mod rounds;

mod cut;
mod freeze;
mod isolate;
mod kill;

mod acknowledged_elsewhere;
mod database_away;
mod frozen_writer;
mod newest_acknowledged;
