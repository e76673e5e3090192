//! The default configurations of the two servers. Each server reads its own, and knows the keys of the other one, since
//! programs of one machine often share their environment.

use imago_kit::settings::Program;

/// Default configuration of a gateway, which holds all of its keys.
pub const GATEWAY_DEFAULTS: &str = include_str!("../defaults/gateway.toml");

/// Default configuration of a logic server, which holds all of its keys.
pub const LOGIC_DEFAULTS: &str = include_str!("../defaults/logic.toml");

/// Both programs.
pub const PROGRAMS: &[Program] = &[
    Program { name: "gateway", defaults: GATEWAY_DEFAULTS },
    Program { name: "logic", defaults: LOGIC_DEFAULTS },
];
