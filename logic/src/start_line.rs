//! The log line of a logic server's start.

use std::net::SocketAddr;

use imago_kit::authority;
use imago_kit::{COMMIT, FILES_RESERVED, VERSION};

use crate::LogicConfig;

/// The fields of the line.
pub(crate) struct StartLine {
    service: String,
    id: String,
    cluster: String,
    link: SocketAddr,
    monitor: SocketAddr,
    /// The address of this server in the registry.
    address: String,
    registry: String,
    registry_form: String,
    store: String,
    directory: String,
    /// Open files that the configured bounds need.
    needed_files: usize,
}

impl StartLine {
    /// `link` and `monitor`: where the server listens.
    pub(crate) fn of(
        config: &LogicConfig,
        link: SocketAddr,
        monitor: SocketAddr,
        registry_form: String,
    ) -> Self {
        let port = if config.info.port == 0 { link.port() } else { config.info.port };
        let container = &config.container;
        Self {
            service: config.info.service.clone(),
            id: config.info.id.to_string(),
            cluster: config.cluster.clone(),
            link,
            monitor,
            address: authority(&config.info.address, port),
            registry: config.naming.to_string(),
            registry_form,
            store: config.store.to_string(),
            directory: config.directory.kind.to_string(),
            needed_files: FILES_RESERVED
                + container.link.handshakes
                + container.monitor.connections,
        }
    }

    /// Logs the line, and warns of a too low limit of open files. The names of the fields are stable, because
    /// programs read the line.
    pub(crate) fn log(&self, open_files: Option<u64>) {
        tracing::info!(
            version = VERSION,
            commit = COMMIT,
            service = self.service,
            id = self.id,
            cluster = self.cluster,
            link = %self.link,
            monitor = %self.monitor,
            address = self.address,
            registry = self.registry,
            registry_form = self.registry_form,
            store = self.store,
            directory = self.directory,
            open_files,
            "logic server started"
        );
        let needed = self.needed_files;
        if open_files.is_some_and(|limit| limit < needed as u64) {
            tracing::warn!(
                open_files,
                needed,
                "the limit of open files is below what link.handshakes and monitor.connections need: \
                 raise it (LimitNOFILE of systemd, ulimit -n), or lower these"
            );
        }
    }
}
