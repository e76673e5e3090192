//! The line of the log that says which gateway has started.

use std::net::SocketAddr;

use imago_kit::authority;
use imago_kit::{COMMIT, VERSION};
use tracing::field;

use crate::{GatewayConfig, transport::Address};

/// What it tells that is known before the gateway listens.
pub(crate) struct StartLine {
    service: String,
    id: String,
    cluster: String,
    /// Where the registry says that this gateway is.
    address: String,
    registry: String,
    registry_form: String,
}

impl StartLine {
    /// `port`: where clients connect, unless the configuration names another one for the registry.
    /// `registry`: where the registry is, as the configuration says, and as it says itself.
    pub(crate) fn of(config: &GatewayConfig, port: u16, registry: [String; 2]) -> Self {
        let port = if config.info.port == 0 { port } else { config.info.port };
        let [registry, registry_form] = registry;
        Self {
            service: config.info.service.clone(),
            id: config.info.id.to_string(),
            cluster: config.cluster.clone(),
            address: authority(&config.info.address, port),
            registry,
            registry_form,
        }
    }

    /// Logs the line, with the addresses of the listeners and of the monitor port, and how many clients
    /// may connect. Programs read it: its fields keep their names.
    pub(crate) fn log(
        &self,
        listeners: &[(String, Address)],
        monitor: SocketAddr,
        connections: usize,
        open_files: Option<u64>,
    ) {
        let of = |name: &str| listeners.iter().find(|(other, _)| other == name).map(|it| &it.1);
        let is_other = |(name, _): &&(String, Address)| !["ws", "tcp"].contains(&name.as_str());
        let others = listeners.iter().filter(is_other);
        let others: Vec<_> = others.map(|(name, address)| format!("{name}={address}")).collect();
        tracing::info!(
            version = VERSION,
            commit = COMMIT,
            service = self.service,
            id = self.id,
            cluster = self.cluster,
            ws = of("ws").map(field::display),
            tcp = of("tcp").map(field::display),
            listeners = (!others.is_empty()).then(|| others.join(",")),
            monitor = field::display(monitor),
            address = self.address,
            registry = self.registry,
            registry_form = self.registry_form,
            connections,
            open_files,
            "gateway started"
        );
    }
}
