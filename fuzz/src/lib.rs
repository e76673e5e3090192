//! Properties of everything that reads bytes from outside, checked for any bytes.
//!
//! Each function panics where a property does not hold. The targets of `cargo fuzz` call them, and so does
//! `tests/tests/fuzz_smoke.rs`, which includes this file.

mod frames;
mod packet;
mod sessions;
mod settings;

pub use frames::{link, tcp, ws};
pub use packet::packet;
pub use sessions::session_batch;
pub use settings::settings;

/// A target: its name, which is that of its folder in `fuzz/corpus`, and its properties.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("ws", ws),
    ("tcp", tcp),
    ("packet", packet),
    ("link", link),
    ("session_batch", session_batch),
    ("settings", settings),
];
