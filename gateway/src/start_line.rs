//! The line of the log that says which gateway has started.

use std::net::SocketAddr;

use imago_kit::authority;
use imago_kit::{COMMIT, VERSION};
use tracing::field;

use crate::GatewayConfig;

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
    pub(crate) fn of(config: &GatewayConfig, port: u16, registry_form: String) -> Self {
        let port = if config.info.port == 0 { port } else { config.info.port };
        Self {
            service: config.info.service.clone(),
            id: config.info.id.to_string(),
            cluster: config.cluster.clone(),
            address: authority(&config.info.address, port),
            registry: config.naming.to_string(),
            registry_form,
        }
    }

    /// Logs the line, with the addresses for WebSocket, TCP and the monitor port, and how many clients
    /// may connect. Programs read it: its fields keep their names.
    pub(crate) fn log(
        &self,
        [ws, tcp, monitor]: [Option<SocketAddr>; 3],
        connections: usize,
        open_files: Option<u64>,
    ) {
        tracing::info!(
            version = VERSION,
            commit = COMMIT,
            service = self.service,
            id = self.id,
            cluster = self.cluster,
            ws = ws.map(field::display),
            tcp = tcp.map(field::display),
            monitor = monitor.map(field::display),
            address = self.address,
            registry = self.registry,
            registry_form = self.registry_form,
            connections,
            open_files,
            "gateway started"
        );
    }
}
