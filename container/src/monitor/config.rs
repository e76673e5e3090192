//! What is configured of the monitor port.

use imago_kit::check_host;

use imago_kit::settings::Settings;

/// Bounds of a monitor port.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// Connections at once. Overflow policy: the oldest of the address with the most is ended.
    pub connections: usize,
    /// Names besides the machine's own under which `/peers` and `/admin` may be asked.
    pub hosts: Vec<String>,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self { connections: 256, hosts: Vec::new() }
    }
}

impl MonitorConfig {
    pub(crate) fn read(settings: &mut Settings) -> Self {
        let config = Self {
            connections: settings.integer("monitor.connections", 16..=65_536),
            hosts: settings.list("monitor.hosts"),
        };
        for host in &config.hosts {
            if let Err(why) = check_host(host) {
                settings.reject("monitor.hosts", &format!("{host:?}: {why}"));
            }
        }
        config
    }
}
