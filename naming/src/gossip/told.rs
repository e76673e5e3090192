//! What members tell of their services, and which of two that tell of the same one registered later.

use chitchat::{Chitchat, NodeState};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ServiceRegistration, unreadable::Skipped};

/// Prefix of the keys under which members tell their registrations.
pub(super) const KEY_PREFIX: &str = "service:";

/// What a member tells of one of its services.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) service: ServiceRegistration,
    /// Of two members with the same service id, the one with the higher number registered later: Unix
    /// milliseconds, or more where it had heard of a number as high.
    pub(super) at: u64,
}

/// What a member tells that can be read; the rest is left out.
pub(super) fn told_by(state: &NodeState) -> impl Iterator<Item = Told> {
    state.key_values().filter_map(|(key, value)| read(key.strip_prefix(KEY_PREFIX)?, value).ok())
}

/// Reads what a member tells of the service with this id. A later version may tell it in another form.
pub(super) fn read(id: &str, value: &str) -> Result<Told, Skipped> {
    let told = serde_json::from_str(value).map_err(|error| error.to_string());
    let told = told.and_then(|told: Told| {
        if told.service.id != id {
            return Err(format!("id: expected that of its key, got {:?}", told.service.id));
        }
        told.service.check().map_err(|error| error.to_string())?;
        Ok(told)
    });
    told.map_err(|reason| Skipped { id: id.to_owned(), reason })
}

/// Has this member tell of a service from now on, under a number that is above those of all others that
/// it has heard of: a server that moves to another machine outranks its earlier life, whatever the
/// clocks there say.
pub(super) fn tell(
    chitchat: &mut Chitchat,
    service: &ServiceRegistration,
    unix_millis: u64,
) -> Result<()> {
    let key = format!("{KEY_PREFIX}{}", service.id);
    let own = chitchat.self_chitchat_id().clone();
    let number = |state: &NodeState| Some(serde_json::from_str::<Told>(state.get(&key)?).ok()?.at);
    let (ours, others): (Vec<_>, Vec<_>) =
        chitchat.node_states().iter().partition(|(member, _)| **member == own);
    let ours = ours.iter().find_map(|(_, state)| number(state));
    let others = others.iter().filter_map(|(_, state)| number(state)).max().unwrap_or_default();
    let at = ours.filter(|at| *at > others).unwrap_or(unix_millis.max(others.saturating_add(1)));
    let told = Told { service: service.clone(), at };
    let value = serde_json::to_string(&told).map_err(|error| Error::Invalid {
        field: "service".to_owned(),
        reason: error.to_string(),
    })?;
    chitchat.self_node_state().set(key, value);
    Ok(())
}
