//! What the integration tests share: real servers in a temporary world, proxies, clients of several
//! kinds, and the checkers of what these saw.

mod chronicle;
mod consul;
mod day;
mod eventually;
mod fault_proxy;
mod history;
mod http;
mod kinds;
mod monitor;
mod netns;
mod pgbouncer;
mod ports;
mod postgres;
mod proxy;
mod redis;
mod server;
mod small_disk;
mod snapshots;
mod tcp_proxy;
mod terminal;
mod traffic;
mod wire;
mod world;

pub use chronicle::{Arrival, Chronicle, DeviceId, Ending, Promise, Verdict};
pub use consul::ConsulAgent;
pub use day::{Act, Cast, Deed, Fetch, Op, Which, day};
pub use eventually::eventually;
pub use fault_proxy::{FaultProxy, Pass, Way};
pub use history::{History, Outcome};
pub use http::{HttpAnswer, HttpRequest, HttpStub};
pub use kinds::{Device, Door, Kind, Spec, To, Transport};
pub use monitor::Monitor;
pub use netns::Namespace;
pub use pgbouncer::PgBouncer;
pub use postgres::PostgresServer;
pub use proxy::LinkProxy;
pub use redis::RedisServer;
pub use server::{Server, program};
pub use small_disk::SmallDisk;
pub use snapshots::{ids, sees};
pub use tcp_proxy::TcpProxy;
pub use terminal::Terminal;
pub use traffic::Traffic;
pub use wire::{RawClient, Received};
pub use world::World;
