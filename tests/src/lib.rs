//! What the integration tests share: real servers in a temporary world, a proxy, a raw client, and
//! the history checker.

mod consul;
mod day;
mod eventually;
mod history;
mod http;
mod monitor;
mod pgbouncer;
mod ports;
mod postgres;
mod proxy;
mod redis;
mod server;
mod snapshots;
mod traffic;
mod wire;
mod world;

pub use consul::ConsulAgent;
pub use day::{Act, Cast, Deed, Op, Which, day};
pub use eventually::eventually;
pub use history::{History, Outcome};
pub use http::{HttpAnswer, HttpRequest, HttpStub};
pub use monitor::Monitor;
pub use pgbouncer::PgBouncer;
pub use postgres::PostgresServer;
pub use proxy::LinkProxy;
pub use redis::RedisServer;
pub use server::{Server, program};
pub use snapshots::{ids, sees};
pub use traffic::Traffic;
pub use wire::{RawClient, Received};
pub use world::World;
