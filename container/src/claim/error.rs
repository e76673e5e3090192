//! The error of a server that loses its id.

use std::fmt;

use imago_proto::ServiceId;

use super::Rival;
use crate::PeerId;

/// Two servers with one id: this one ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    pub(crate) own: PeerId,
    /// `host:port` of this server's service.
    pub(crate) own_address: String,
    pub(crate) rival: Rival,
    /// What the registry is and where.
    pub(crate) registry: String,
}

impl Clash {
    /// The id that both have.
    pub fn service_id(&self) -> &ServiceId {
        &self.own.service_id
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, own_address, rival, registry } = self;
        let PeerId { service_id, incarnation } = own;
        write!(
            f,
            "service.id: {service_id} is held by another server, incarnation {} at {}{}; this one, incarnation \
             {incarnation} at {own_address}, ends (registry: {registry}). Give each server a service.id of its \
             own, or leave it empty for one that is made up",
            rival.claim.incarnation,
            rival.address,
            if rival.is_leaving { ", which is leaving" } else { "" },
        )
    }
}

impl std::error::Error for Clash {}
