//! A gateway that listens, and its run until it has handed its clients over.

use std::{net::SocketAddr, sync::Arc};

use imago_container::Container;
use imago_kit::cli::announce_ports;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    GatewayConfig,
    accept::{Entrance, Listener},
    builder::Builder,
    redelivery::Redelivery,
    transport::Address,
};

/// A gateway that listens, and does not run yet.
pub struct Gateway {
    pub(crate) container: Container,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) listeners: Vec<Box<dyn Listener>>,
    /// Names and addresses of the listeners.
    pub(crate) addresses: Vec<(String, Address)>,
    pub(crate) monitor: SocketAddr,
    pub(crate) service: String,
    pub(crate) id: String,
}

// === impl Gateway ===

impl Gateway {
    /// Begins a gateway. What the builder is not told is as the configuration says.
    pub fn builder(config: GatewayConfig) -> Builder {
        Builder::new(config)
    }

    /// Returns where clients connect over the transport of this name: `ws`, `tcp`, or that of a transport
    /// that the builder was given.
    pub fn address(&self, transport: &str) -> Option<&Address> {
        self.addresses.iter().find(|(name, _)| name == transport).map(|(_, address)| address)
    }

    /// Returns where the monitor port is.
    pub fn monitor(&self) -> SocketAddr {
        self.monitor
    }

    /// Tells by one line of JSON on standard output where it listens.
    pub(crate) fn announce(&self) {
        let clients = self.addresses.iter().map(|(name, at)| (name.as_str(), Some(at.to_string())));
        let monitor = ("monitor", Some(self.monitor.to_string()));
        let ports: Vec<_> = clients.chain([monitor]).collect();
        announce_ports(&self.service, &self.id, &ports);
    }

    /// Runs until `shutdown`, then drains. Nothing of it is left running after that, or when the
    /// future is dropped.
    ///
    /// # Errors
    /// When the container cannot run.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let context = &self.entrance.context;
        let life = &context.life;
        let _stop = life.stop.clone().drop_guard();
        for listener in self.listeners {
            let accepting = listener.run(self.entrance.clone());
            life.tasks.spawn(life.stop.clone().run_until_cancelled_owned(accepting));
        }
        // Not among the tasks that a drain waits for: it serves clients to the last.
        let redelivery = Redelivery::run(context.sessions.clone(), context.handle.clone());
        let _redelivery = AbortOnDropHandle::new(tokio::spawn(redelivery));
        self.container.run(shutdown).await?;
        Ok(())
    }
}
