//! Servers that an operator has put into maintenance.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use imago_naming::{Health, Memory};
use imago_proto::SessionId;

use super::support::*;
use crate::{Lane, PeerId, Route, monitor::MonitorSource};

const SESSIONS: u64 = 20;

/// A gateway with two logic servers that take requests.
async fn trio(memory: &Memory) -> (Gateway, [Logic; 2]) {
    let logics = [
        Logic::start("logic-1", Arc::new(memory.clone())).await,
        Logic::start("logic-2", Arc::new(memory.clone())).await,
    ];
    let gateway = Gateway::start("gateway-1", Arc::new(memory.clone()));
    gateway.grown_up().await;
    for server in ["logic-1", "logic-2"] {
        let is_usable = || gateway.link(server).is_some_and(|link| link.is_usable());
        eventually("both take requests", is_usable).await;
    }
    (gateway, logics)
}

/// A session's way to the servers, and its answers.
struct Session(Lane, Arc<Answers>, u32);

impl Session {
    fn open(gateway: &Gateway, number: u64) -> Self {
        let answers = Arc::new(Answers::default());
        let route = Route { app: "app".into(), account: format!("account-{number}").into() };
        Self(gateway.handle.open_lane(SessionId(number), route, answers.clone()), answers, 0)
    }

    /// The server that answers its next request.
    async fn asks(&mut self, logics: &[Logic]) -> PeerId {
        let counts =
            || logics.iter().map(|it| it.role.requests.load(Ordering::SeqCst)).collect::<Vec<_>>();
        let before = counts();
        self.2 += 1;
        self.0.submit(request(self.2));
        let count = self.2 as usize;
        eventually("an answer", || self.1.0.lock().unwrap().len() == count).await;
        let asked = before.iter().zip(counts()).position(|(before, now)| *before != now).unwrap();
        logics[asked].handle.own.clone()
    }
}

async fn rests(gateway: &Gateway, memory: &Memory, server: &str, health: Health) {
    memory.set_health(server, health);
    let is_resting = health == Health::Maintenance;
    let is_told = || gateway.link(server).is_some_and(|link| link.is_resting() == is_resting);
    eventually("the gateway knows", is_told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_stay_with_a_server_in_maintenance_and_new_ones_go_elsewhere() {
    let memory = Memory::new();
    let (gateway, logics) = trio(&memory).await;
    let mut sessions: Vec<_> = (0..SESSIONS).map(|n| Session::open(&gateway, n)).collect();
    let mut places = Vec::new();
    for session in &mut sessions {
        places.push(session.asks(&logics).await);
    }
    let all: BTreeSet<_> = places.iter().collect();
    assert_eq!(all.len(), 2, "sessions are with both: {places:?}");

    rests(&gateway, &memory, "logic-2", Health::Maintenance).await;
    assert_eq!(gateway.health("logic-2"), "maintenance");
    for (session, place) in sessions.iter_mut().zip(&places) {
        assert_eq!(session.asks(&logics).await, *place);
    }
    for number in 0..SESSIONS {
        let place = Session::open(&gateway, SESSIONS + number).asks(&logics).await;
        assert_eq!(place.service_id.as_str(), "logic-1");
    }
    // A link that is new meanwhile knows it too.
    let link = gateway.link("logic-2").unwrap();
    link.close();
    let is_new = |it: &Arc<crate::link::Link>| !Arc::ptr_eq(it, &link) && it.is_usable();
    eventually("another link", || gateway.link("logic-2").as_ref().is_some_and(is_new)).await;
    assert!(gateway.link("logic-2").unwrap().is_resting());

    // With all of them in maintenance, one is better than none.
    rests(&gateway, &memory, "logic-1", Health::Maintenance).await;
    Session::open(&gateway, 1000).asks(&logics).await;

    rests(&gateway, &memory, "logic-1", Health::Passing).await;
    rests(&gateway, &memory, "logic-2", Health::Passing).await;
    let mut places = BTreeSet::new();
    for number in 0..SESSIONS {
        places.insert(Session::open(&gateway, 2000 + number).asks(&logics).await);
    }
    assert_eq!(places.len(), 2, "new sessions go to both again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_in_maintenance_is_not_ready_and_waited_for() {
    let memory = Memory::new();
    let (gateway, _logic) = pair(&memory).await;
    eventually("ready", || gateway.report.ready().is_ok()).await;
    memory.set_health("gateway-1", Health::Maintenance);
    eventually("not ready", || gateway.report.ready().is_err()).await;
    let reasons = gateway.report.ready().unwrap_err();
    assert_eq!(reasons, ["maintenance: an operator keeps new clients away"]);
    // It serves clients, so a newcomer grows up with it only.
    let next = Logic::start("logic-2", Arc::new(memory.clone())).await;
    eventually("the newcomer grew up", || next.report.ready().is_ok()).await;
    assert!(gateway.link("logic-2").is_some_and(|link| link.is_synced()));
    memory.set_health("gateway-1", Health::Passing);
    eventually("ready again", || gateway.report.ready().is_ok()).await;
}
