//! Two servers with one `service.id`: exactly one of them ends, and says what to change. A server that
//! comes after one that has died starts at once.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use imago_tests::{ConsulAgent, RawClient, Server, Traffic, World, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
/// For how long nothing may happen.
const CALM: Duration = Duration::from_secs(3);
/// An address without any host (RFC 5737).
const NOWHERE: &str = "192.0.2.1";

fn naming_of(agent: &ConsulAgent) -> String {
    format!("consul://{}?verify_interval=1s", agent.address())
}

async fn incarnation(server: &Server) -> String {
    server.monitor().peers().await.unwrap().own.incarnation
}

/// The incarnation of a server that has ended with the error.
fn incarnation_in(log: &str) -> String {
    let error = log.lines().find(|line| line.starts_with("error: ")).unwrap();
    let (_, own) = error.split_once("this one, incarnation ").unwrap();
    own.split(' ').next().unwrap().to_owned()
}

async fn links_opened(server: &Server) -> f64 {
    server.monitor().metric("imago_links_opened_total").await.unwrap()
}

async fn redeliveries(gateway: &Server) -> f64 {
    gateway.monitor().metric("imago_redeliveries_total").await.unwrap()
}

/// Waits until a server has ended with the error of a clash, which names both lives, both places, the
/// registry and what to change.
async fn loses(server: &mut Server, winner: &str, words: &[&str]) {
    let code = server.ended().await;
    let log = server.log();
    assert_eq!(code, Some(1), "{} ended otherwise:\n{log}", server.id);
    let error = log.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("{} tells no error:\n{log}", server.id));
    for word in [&["service.id", &server.id, winner][..], words].concat() {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

/// Asserts that nothing happens to a gateway and a logic server for a while: no link comes or goes, no
/// message goes out again, both stay ready.
async fn stay_calm(gateway: &Server, logic: &Server, before: (f64, f64, f64)) {
    let until = Instant::now() + CALM;
    eventually(CALM * 4, "the time is over", || async {
        for server in [gateway, logic] {
            assert_eq!(server.monitor().ready().await.unwrap().0, 200, "{}", server.id);
        }
        (Instant::now() > until).then_some(())
    })
    .await;
    assert_eq!(figures(gateway, logic).await, before, "links and redeliveries");
}

async fn figures(gateway: &Server, logic: &Server) -> (f64, f64, f64) {
    (links_opened(gateway).await, links_opened(logic).await, redeliveries(gateway).await)
}

/// Starts a second gateway while clients of the first talk: it ends at its start, and they notice nothing.
async fn a_second_gateway_ends_at_its_start(world: World, registry: &str) {
    let logic = world.logic("logic-1", &[]).await;
    let first = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    first.ready().await;
    let mut traffic = Traffic::connect(&world, &[&first], 6).await;
    let before = figures(&first, &logic).await;
    traffic.send(200);
    traffic.accepted(100).await;
    let mut second = world.gateway("gateway-1", &[]).await;
    let winner = incarnation(&first).await;
    let places = [first.address("ws"), second.address("ws")];
    loses(&mut second, &winner, &[&places[0], &places[1], registry]).await;
    stay_calm(&first, &logic, before).await;
    let history = traffic.finish().await;
    history.assert_clean();
    assert_eq!(history.accepted(), 1200);
    assert_eq!(figures(&first, &logic).await, before, "links and redeliveries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_of_one_id_ends_at_its_start_by_gossip() {
    a_second_gateway_ends_at_its_start(World::gossip().await, "gossip").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_of_one_id_ends_at_its_start_by_consul() {
    a_second_gateway_ends_at_its_start(World::consul().await, "consul").await;
}

/// Nothing can be asked of the first one but by its links and the registry.
async fn a_gateway_that_cannot_be_asked_keeps_its_id(world: World) {
    let logic = world.logic("logic-1", &[]).await;
    let hidden = [("monitor.listen", "0.0.0.0:0"), ("service.address", NOWHERE)];
    let first = world.gateway("gateway-1", &hidden).await;
    logic.ready().await;
    first.ready().await;
    let mut ann = RawClient::login(&first, &world.token("ann")).await;
    let before = figures(&first, &logic).await;
    let winner = incarnation(&first).await;
    let mut second = world.gateway("gateway-1", &hidden).await;
    loses(&mut second, &winner, &[NOWHERE]).await;
    stay_calm(&first, &logic, before).await;
    ann.talk(2, "ann", "still here").await;
    // By Consul, the second one ends before it has a link with the logic server.
    let logs = logic.log() + &first.log();
    let warned: Vec<_> = logs.lines().filter(|line| line.contains("one service.id")).collect();
    let own = logs.lines().filter(|line| line.contains("this one's service.id"));
    let warned = [warned, own.collect()].concat();
    assert!(!warned.is_empty(), "no warning:\n{logs}");
    for line in warned {
        for word in ["WARN", &winner, &incarnation_in(&second.log()), NOWHERE] {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_be_asked_keeps_its_id_by_gossip() {
    a_gateway_that_cannot_be_asked_keeps_its_id(World::gossip().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_be_asked_keeps_its_id_by_consul() {
    a_gateway_that_cannot_be_asked_keeps_its_id(World::consul().await).await;
}

/// Starts a second logic server under the id of the first, by another agent where one is given.
async fn a_second_logic_server_ends_at_its_start(world: &World, naming: &str) {
    let first = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    first.ready().await;
    gateway.ready().await;
    let before = figures(&gateway, &first).await;
    let winner = incarnation(&first).await;
    let mut second = world.logic("logic-1", &[("naming.url", naming)]).await;
    let places = [first.address("link"), second.address("link")];
    loses(&mut second, &winner, &[&places[0], &places[1], "consul"]).await;
    stay_calm(&gateway, &first, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_logic_server_of_one_id_ends_at_its_start_on_one_agent() {
    let world = World::consul().await;
    a_second_logic_server_ends_at_its_start(&world, &world.naming()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_logic_server_of_one_id_ends_at_its_start_on_two_agents() {
    let mut world = World::consul().await;
    let other = world.agent().join().await;
    a_second_logic_server_ends_at_its_start(&world, &naming_of(&other)).await;
}

/// Waits until exactly one of two servers has ended, with the error, and the other is ready.
async fn exactly_one_stays(mut twins: [Server; 2]) -> Server {
    eventually(PATIENCE, "one of them has ended", || {
        let running = twins.iter_mut().filter_map(|twin| twin.is_running().then_some(())).count();
        async move { (running < 2).then_some(()) }
    })
    .await;
    let [a, b] = twins;
    let (mut stays, mut ends) = (a, b);
    if !stays.is_running() {
        (stays, ends) = (ends, stays);
    }
    let winner = incarnation(&stays).await;
    loses(&mut ends, &winner, &[]).await;
    stays.ready().await;
    tokio::time::sleep(CALM).await;
    assert!(stays.is_running(), "both ended");
    assert_eq!(stays.monitor().ready().await.unwrap().0, 200);
    stays
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_that_start_at_once_by_gossip_one_stays() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    logic.ready().await;
    let twins = [world.gateway("gateway-1", &[]), world.gateway("gateway-1", &[])];
    let twins: [Server; 2] = futures::future::join_all(twins).await.try_into().unwrap();
    exactly_one_stays(twins).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_logic_servers_that_start_at_once_on_one_agent_one_stays() {
    let world = World::consul().await;
    let twins = [world.logic("logic-1", &[]), world.logic("logic-1", &[])];
    let twins: [Server; 2] = futures::future::join_all(twins).await.try_into().unwrap();
    exactly_one_stays(twins).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_logic_servers_that_start_at_once_on_two_agents_one_stays() {
    let mut world = World::consul().await;
    let other = world.agent().join().await;
    let naming = naming_of(&other);
    let settings = [("naming.url", &*naming)];
    let twins = tokio::join!(world.logic("logic-1", &[]), world.logic("logic-1", &settings));
    exactly_one_stays(twins.into()).await;
}

/// A gateway stands still, another one takes its id over; when it goes on, it ends, and its clients are
/// told to go elsewhere.
async fn a_frozen_gateway_is_replaced_and_ends_when_it_wakes(world: World) {
    let logic = world.logic("logic-1", &[]).await;
    let mut first = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    first.ready().await;
    let mut ann = RawClient::login(&first, &world.token("ann")).await;
    first.freeze();
    let mut second = world.gateway("gateway-1", &[]).await;
    second.ready().await;
    let winner = incarnation(&second).await;
    let before = figures(&second, &logic).await;
    first.thaw();
    assert_eq!(ann.closed().await, Some(1001));
    let places = [first.address("ws"), second.address("ws")];
    loses(&mut first, &winner, &[&places[0], &places[1]]).await;
    stay_calm(&second, &logic, before).await;
    assert!(second.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_gateway_is_replaced_and_ends_when_it_wakes_by_gossip() {
    a_frozen_gateway_is_replaced_and_ends_when_it_wakes(World::gossip().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_gateway_is_replaced_and_ends_when_it_wakes_by_consul() {
    a_frozen_gateway_is_replaced_and_ends_when_it_wakes(World::consul().await).await;
}

async fn a_frozen_logic_server_is_replaced_and_ends_when_it_wakes(world: &World, naming: &str) {
    let mut first = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    first.ready().await;
    gateway.ready().await;
    first.freeze();
    let mut second = world.logic("logic-1", &[("naming.url", naming)]).await;
    second.ready().await;
    let winner = incarnation(&second).await;
    first.thaw();
    let places = [first.address("link"), second.address("link")];
    loses(&mut first, &winner, &[&places[0], &places[1]]).await;
    gateway.ready().await;
    stay_calm(&gateway, &second, figures(&gateway, &second).await).await;
    assert!(second.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_logic_server_is_replaced_and_ends_when_it_wakes_on_one_agent() {
    let world = World::consul().await;
    a_frozen_logic_server_is_replaced_and_ends_when_it_wakes(&world, &world.naming()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_logic_server_is_replaced_and_ends_when_it_wakes_on_two_agents() {
    let mut world = World::consul().await;
    let other = world.agent().join().await;
    a_frozen_logic_server_is_replaced_and_ends_when_it_wakes(&world, &naming_of(&other)).await;
}

/// The entry of a server that was killed still stands in the registry, passing.
async fn a_server_starts_at_once_after_one_that_was_killed(world: World) {
    let mut logic = world.logic("logic-1", &[]).await;
    let mut gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    for _ in 0..2 {
        logic.kill9().await;
        logic = world.logic("logic-1", &[]).await;
        gateway.kill9().await;
        let killed = Instant::now();
        gateway = world.gateway("gateway-1", &[]).await;
        gateway.ready().await;
        logic.ready().await;
        println!("ready {:?} after the end of the earlier life", killed.elapsed());
        assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
        for server in [&gateway, &logic] {
            assert!(!server.log().contains("service.id"), "{}:\n{}", server.id, server.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_at_once_after_one_that_was_killed_by_gossip() {
    a_server_starts_at_once_after_one_that_was_killed(World::gossip().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_at_once_after_one_that_was_killed_by_consul() {
    a_server_starts_at_once_after_one_that_was_killed(World::consul().await).await;
}
