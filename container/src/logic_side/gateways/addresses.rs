//! Where gateways are, for people who look for one of two with the same id.

use std::collections::HashMap;

use imago_kit::authority;
use imago_naming::Instance;

use super::Gateways;
use crate::{PeerId, link::Link, runtime::peer_of};

/// `host:port` of the gateways' services.
pub(super) type Addresses = HashMap<PeerId, String>;

impl Gateways {
    /// Remembers where the registry says that the gateways are.
    pub(crate) fn set_addresses(&self, instances: &[Instance]) {
        let addresses = instances.iter().filter_map(|instance| {
            let service = &instance.service;
            Some((peer_of(service)?, authority(&service.address, service.port)))
        });
        *self.addresses.lock() = addresses.collect();
    }

    /// Where a gateway is, as far as the registry tells.
    pub(crate) fn address_of(&self, gateway: &PeerId) -> Option<String> {
        self.addresses.lock().get(gateway).cloned()
    }

    /// The same, or where its link comes from.
    pub(crate) fn address_of_linked(&self, link: &Link) -> String {
        let remote = || link.remote.get().map(|remote| format!("{remote} (its link)"));
        self.address_of(&link.peer).or_else(remote).unwrap_or_default()
    }
}
