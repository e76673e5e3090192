//! A gateway's side of the cluster: it dials logic servers, tells them its sessions, and forwards requests.

mod dial;
mod forward;
mod handle;
mod hearing;
mod links;
mod report;
mod roster;
mod runtime;
mod why;

use std::sync::Arc;

use imago_proto::link::Role;

use self::{forward::Forwarder, links::Mailboxes};
pub use self::{forward::Lane, handle::GatewayHandle};
pub(crate) use self::{links::Links, report::GatewayReport, runtime::GatewayRuntime};
use crate::{
    claim::ClashLog,
    runtime::{Common, Lost, MAILBOX, RegistryLog, TOLD},
    selector::Selector,
};

/// Puts a gateway's runtime together.
pub(crate) fn gateway(
    common: Common,
    port: u16,
    protocol: String,
    selector: Arc<dyn Selector>,
) -> (GatewayRuntime, GatewayHandle) {
    let (events_in, events) = tokio::sync::mpsc::channel(MAILBOX);
    let identity = common.identity(Role::Gateway);
    let claimant = common.claimant(Role::Gateway, port);
    let (told_in, told) = tokio::sync::mpsc::channel(TOLD);
    let mailboxes = Mailboxes { events: events_in, told: told_in };
    let links = Arc::new(Links::new(
        Forwarder::new(common.config.forward.clone(), selector),
        common.config.link,
        identity,
        common.credentials,
        mailboxes,
        common.tasks.clone(),
        common.stop.clone(),
    ));
    let report = Arc::new(GatewayReport::new(
        common.info.clone(),
        port,
        links.clone(),
        &common.peer_service,
    ));
    let handle = GatewayHandle { own: common.info.peer(), links: links.clone() };
    let runtime = GatewayRuntime {
        info: common.info,
        config: common.config,
        naming: common.naming,
        logic_service: common.peer_service,
        port,
        protocol,
        health_url: common.health_url,
        events,
        links,
        report,
        registry_log: RegistryLog::default(),
        claimant: Some(claimant),
        told: Some(told),
        lost: Lost::default(),
        clashes: ClashLog::default(),
        tasks: common.tasks,
        stop: common.stop,
    };
    (runtime, handle)
}
