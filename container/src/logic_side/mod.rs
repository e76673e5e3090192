//! A logic server's side of the cluster: it accepts the links of gateways, and knows their sessions.

mod accept;
mod gateways;
mod handle;
mod redelivery;
mod report;
mod runtime;
mod told;
mod trouble;

use std::{sync::Arc, time::Duration};

use imago_kit::LogLimit;
use imago_proto::link::Role;
use tokio::net::TcpListener;

pub(crate) use self::{accept::Acceptor, report::LogicReport, runtime::LogicRuntime};
use self::{accept::LinkServer, gateways::Gateways, trouble::TroubleCell};
pub use self::{handle::LogicHandle, redelivery::Redelivery, trouble::Trouble};
use crate::{
    Error,
    claim::ClashLog,
    runtime::{Common, Failures, Lost, MAILBOX, report::CommonReport},
};

/// How often it is logged that two gateways have one id.
const HELD_LOG: Duration = Duration::from_secs(60);

/// Puts a logic server's runtime together.
pub(crate) fn logic(
    common: Common,
    listener: TcpListener,
) -> Result<(LogicRuntime, Acceptor, LogicHandle), Error> {
    let port = listener.local_addr().map_err(Error::Listener)?.port();
    let (events_in, events) = tokio::sync::mpsc::channel(MAILBOX);
    let identity = common.identity(Role::Logic);
    let claimant = common.claimant(Role::Logic, port);
    let gateways = Arc::new(Gateways::new(common.config.link, events_in.clone()));
    let trouble = TroubleCell::default();
    let report = LogicReport {
        common: CommonReport::new(common.info.clone(), port),
        gateways: gateways.clone(),
        events: events_in.clone(),
        trouble: trouble.clone(),
        failures: Failures::default(),
    };
    let failures = report.failures.clone();
    let links = LinkServer {
        identity,
        credentials: common.credentials,
        config: common.config.link,
        gateways: gateways.clone(),
        events: events_in.clone(),
        tasks: common.tasks.clone(),
        stop: common.stop.clone(),
        failures,
        held: Arc::new(LogLimit::every(HELD_LOG)),
    };
    let handle = LogicHandle {
        own: common.info.peer(),
        gateways: gateways.clone(),
        trouble,
        events: events_in.clone(),
    };
    let runtime = LogicRuntime {
        info: common.info,
        config: common.config,
        naming: common.naming,
        gateway_service: common.peer_service,
        port,
        health_url: common.health_url,
        events,
        events_in,
        gateways,
        report: Arc::new(report),
        registry_log: Arc::default(),
        claimant: Some(claimant),
        lost: Lost::default(),
        clashes: ClashLog::default(),
        tasks: common.tasks,
        stop: common.stop,
    };
    Ok((runtime, Acceptor { listener, links }, handle))
}
