//! A cluster of processes on this machine: what starts, watches and finds them, and what the commands share.

mod address;
mod printable;
mod process;
mod secret;
mod server;
mod state;
mod table;
mod token;

pub use self::{
    address::{monitor_url, ws_url},
    printable::printable,
    process::{NoPorts, Ports, Process, Program},
    secret::SecretArgs,
    server::{Launch, Server},
    state::{DATA_DIR, DevState, Member, lock},
    table::table,
    token::{Claims, make_token},
};
