//! What a registry knows of a server.

use std::{collections::BTreeMap, time::SystemTime};

use imago_kit::check_host;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Keys of [`ServiceRegistration::meta`] that Imago reads. A backend keeps them all, and reads
/// [`HEALTH_URL`](meta_key::HEALTH_URL) at most; the others are for servers.
pub mod meta_key {
    /// What the address speaks, for example `imago-link`, `ws` or `ws,tcp`.
    pub const PROTOCOL: &str = "protocol";
    /// URL that answers 200 while the process is alive: for registries that have checks of their own.
    pub const HEALTH_URL: &str = "health_url";
    /// `young`, `adult` or `leaving`.
    pub const SERVICE_STATE: &str = "service_state";
    /// 16 hexadecimal digits, new with every process.
    pub const INCARNATION: &str = "incarnation";
    /// Number of times that a process has taken this id over from another one, as far as the registry
    /// told: of two processes with one id, that with the higher number stays.
    pub const GENERATION: &str = "generation";
    /// Zone for zone-aware selection.
    pub const ZONE: &str = "zone";
    /// Public domain name of a gateway.
    pub const DOMAIN: &str = "domain";
    /// Gateways that an Adult logic server promoted without: service ids, comma-separated.
    pub const EXCLUDED: &str = "excluded";
    /// Weight within its zone or among zones, a positive number.
    pub const WEIGHT: &str = "weight";
}

/// One server's entry in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRegistration {
    /// Id, unique in the registry: see [`Naming`](crate::Naming) for its form.
    pub id: String,
    /// Name of the service, for example `chat`.
    pub name: String,
    /// Host or IP address where the service is reached.
    pub address: String,
    /// Port where the service is reached, 1 to 65535.
    pub port: u16,
    /// Words to find the service by.
    pub tags: Vec<String>,
    /// Short texts for other servers and for people, see [`meta_key`].
    pub meta: BTreeMap<String, String>,
}

impl ServiceRegistration {
    /// Creates a registration without tags and meta.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        address: impl Into<String>,
        port: u16,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            address: address.into(),
            port,
            tags: Vec::new(),
            meta: BTreeMap::new(),
        }
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds a meta entry, or replaces its value.
    #[must_use]
    pub fn with_meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Returns a meta entry.
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.meta.get(key).map(String::as_str)
    }

    /// Returns the state that the server wrote last; `Young` where it wrote none.
    pub fn state(&self) -> ServiceState {
        self.meta(meta_key::SERVICE_STATE).map_or(ServiceState::Young, ServiceState::parse)
    }

    /// Checks what every registry needs: an id, a name, an address and a port that others can connect to.
    /// Backends call it first when they [`register`](crate::Naming::register), and for what they read.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field and what is expected of it.
    pub fn check(&self) -> Result<()> {
        let invalid =
            |field: &str, reason: String| Err(Error::Invalid { field: field.to_owned(), reason });
        for (field, value) in [("id", &self.id), ("name", &self.name), ("address", &self.address)] {
            if value.is_empty() {
                return invalid(field, "expected a value, got none".to_owned());
            }
        }
        // In a path, as Consul has it, these are no names.
        if [".", ".."].contains(&&*self.id) {
            return invalid("id", format!("expected a name, got {:?}", self.id));
        }
        if let Err(expected) = check_host(&self.address) {
            return invalid("address", format!("{expected}, got {:?}", self.address));
        }
        if self.port == 0 {
            return invalid("port", "expected 1 to 65535, got 0".to_owned());
        }
        Ok(())
    }

    /// Returns whether the registration carries every one of `tags`, in any case of letters.
    pub fn has_tags(&self, tags: &[&str]) -> bool {
        tags.iter().all(|tag| self.tags.iter().any(|own| own.eq_ignore_ascii_case(tag)))
    }
}

/// `service_state` of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceState {
    /// Registered, not yet usable.
    Young,
    /// Usable, or about to be: the flag that is written before the last look.
    Adult,
    /// Draining.
    Leaving,
}

impl ServiceState {
    /// Returns the text in the registry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Young => "young",
            Self::Adult => "adult",
            Self::Leaving => "leaving",
        }
    }

    /// Reads the text in the registry; an unknown one is not usable, so `Young`.
    pub fn parse(text: &str) -> Self {
        match text {
            "adult" => Self::Adult,
            "leaving" => Self::Leaving,
            _ => Self::Young,
        }
    }
}

/// Outcome of an instance's health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Healthy.
    Passing,
    /// Taken out of use by an operator, and alive as far as its checks tell: nothing new goes to it.
    Maintenance,
    /// Alive, with a warning of its check.
    Warning,
    /// Fails its check since that time, as far as this process has seen. The time stays the same from one
    /// snapshot to the next while it does.
    Critical {
        /// When this process first saw it critical.
        since: SystemTime,
    },
}

/// An entry in a registry with its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What the server registered.
    pub service: ServiceRegistration,
    /// Outcome of its check.
    pub health: Health,
}
