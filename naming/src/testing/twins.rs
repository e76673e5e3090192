//! Cases: several processes write at the same time, or under one id.

use super::{Case, Fixture, register};
use crate::{ServiceRegistration, meta_key};

/// Of two servers that register and then read, at least one sees the other: promotion relies on it. For
/// registries that are consistent.
pub async fn of_two_joining_servers_one_sees_the_other(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let servers = [case.server("one"), case.server("two")];
    let clients = [fixture.client(&servers[0].id).await, fixture.client(&servers[1].id).await];
    if !clients[0].is_consistent() {
        return;
    }
    for round in 0..10 {
        let flagged = |server: &ServiceRegistration| {
            server.clone().with_meta(meta_key::SERVICE_STATE, format!("{round}"))
        };
        let [one, two] = [flagged(&servers[0]), flagged(&servers[1])];
        let join = async |number: usize, own: &ServiceRegistration, other: &ServiceRegistration| {
            register(&clients[number], own).await;
            case.read(&clients[number]).await.iter().any(|instance| instance.service == *other)
        };
        let (sees_two, sees_one) = tokio::join!(join(0, &one, &two), join(1, &two, &one));
        assert!(sees_two || sees_one, "round {round}: neither sees the other");
    }
}

/// A registration replaces that of another process under the same id, and a process that registers again
/// replaces it in turn, even with what it wrote before. Both see it.
pub async fn the_last_of_two_processes_to_register_is_shown(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let one = case.server("twin").with_meta(meta_key::INCARNATION, "00aa");
    let other = case.server("twin").with_meta(meta_key::INCARNATION, "00bb");
    let clients = [fixture.client(&one.id).await, fixture.client(&case.id("other")).await];
    for (client, server) in [(0, &one), (1, &other), (0, &one), (1, &other)] {
        register(&clients[client], server).await;
        for reader in [&clients[0], &clients[1], &observer] {
            case.reads(reader, &[server]).await;
        }
    }
}

/// A process that looks after its registration leaves alone what another one has registered in its place.
pub async fn a_server_leaves_the_registration_of_another_process_alone(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let one = case.server("twin").with_meta(meta_key::INCARNATION, "00aa");
    let other = case.server("twin").with_meta(meta_key::INCARNATION, "00bb");
    let _first = case.registered(&one).await;
    case.reads(&observer, &[&one]).await;
    let second = fixture.client(&case.id("other")).await;
    register(&second, &other).await;
    case.reads(&observer, &[&other]).await;
    let is_others = async || case.read(&observer).await.iter().map(|it| &it.service).eq([&other]);
    case.stays(&observer, "the registration of the other process", is_others).await;
}
