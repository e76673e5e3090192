//! Links that do not come up: logs, the monitor port and `imago status` say whom and why.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use bytes::BytesMut;
use imago_container::monitor::PeerReport;
use imago_proto::{
    LinkFrame,
    link::{Refused, RefusedReason, frame::Kind},
};
use imago_tests::{LinkProxy, Server, World, eventually, program};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

const SOON: Duration = Duration::from_secs(30);
/// What a log line of a link that does not come up begins with.
const NO_LINK: &str = "no link with this peer";

/// Prints the cluster once, as seen from a monitor port.
async fn status(monitor: &str) -> String {
    let arguments = ["status", "--once", "--monitor", monitor];
    let ran = Command::new(program("imago")).args(arguments).env_clear().output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Waits until a server has failed at least `times` to link with a peer, and returns its report.
async fn fails(server: &Server, peer: &str, times: u64) -> PeerReport {
    let what = format!("{} fails to link with {peer} {times} times", server.id);
    eventually(SOON, &what, || async {
        let peers = server.monitor().peers().await.ok()?.peers;
        let report = peers.into_iter().find(|report| report.id == peer)?;
        (report.failure.as_ref()?.count >= times).then_some(report)
    })
    .await
}

/// Lines of a log, at `WARN`, about a link that does not come up.
fn warnings(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("WARN") && line.contains(NO_LINK));
    lines.map(ToOwned::to_owned).collect()
}

fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_name_does_not_resolve_is_named_with_the_reason_everywhere() {
    let world = World::gossip().await;
    let gateway = world.gateway("gateway-1", &[]).await;
    let logic = world.logic("logic-1", &[("service.address", "nohost.invalid")]).await;
    let report = fails(&gateway, "logic-1", 5).await;
    let failure = report.failure.unwrap();
    let address = format!("nohost.invalid:{}", logic.address("link").rsplit_once(':').unwrap().1);
    assert_eq!(failure.address, address);
    assert!(failure.why.contains("resolv"), "{failure:?}");
    assert!(failure.age_seconds < 10.0 && failure.since_seconds >= failure.age_seconds);

    let warned = warnings(&gateway);
    assert_eq!(warned.len(), 1, "{warned:?}");
    contains_all(&warned[0], &["logic-1", &address, "resolv"]);

    let (code, reasons) = gateway.monitor().ready().await.unwrap();
    assert_eq!(code, 503);
    contains_all(&reasons, &["cannot link with logic-1", &address, "resolv"]);
    assert!(!reasons.contains("start one"), "{reasons}");
    let young = "still young: no logic server to work with";
    eventually(SOON, "the log says why the gateway is young", || async {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains(young))?;
        line.contains(&address).then_some(())
    })
    .await;
    // The server that is dialled knows only where.
    let (code, reasons) = logic.monitor().ready().await.unwrap();
    assert_eq!(code, 503);
    contains_all(&reasons, &["waiting for the link with gateway-1", &address]);

    let shown = status(&logic.address("monitor")).await;
    contains_all(&shown, &["gateway-1 cannot link with logic-1", &address, "resolv", "times"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_and_a_silent_peer_are_told_apart() {
    let world = World::gossip().await;
    // Bound without listening: connections are refused, and the port is given to no other.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed_port = closed.local_addr().unwrap().port().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_port = silent.local_addr().unwrap().port().to_string();
    let _refusing = world.logic("logic-1", &[("service.port", &closed_port)]).await;
    let _silent = world.logic("logic-2", &[("service.port", &silent_port)]).await;
    let gateway = world.gateway("gateway-1", &[("link.dial_timeout", "200ms")]).await;
    let refused = fails(&gateway, "logic-1", 2).await.failure.unwrap();
    assert_eq!(refused.address, format!("127.0.0.1:{closed_port}"));
    assert!(refused.why.contains("refused"), "{refused:?}");
    let silent = fails(&gateway, "logic-2", 2).await.failure.unwrap();
    assert!(silent.why.contains("no answer within 200ms"), "{silent:?}");
    let shown = status(&gateway.address("monitor")).await;
    contains_all(
        &shown,
        &["gateway-1 cannot link with logic-1", "gateway-1 cannot link with logic-2", "no answer"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_forgotten_once_the_link_is_up() {
    let world = World::gossip().await;
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let at = held.local_addr().unwrap();
    let logic = world.logic("logic-1", &[("service.port", &at.port().to_string())]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    fails(&gateway, "logic-1", 2).await;
    // What listens there from now on leads to the server.
    let listener = TcpListener::bind(at).await.unwrap();
    let target = logic.address("link");
    let leading = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut onward = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    logic.ready().await;
    gateway.ready().await;
    let peers = gateway.monitor().peers().await.unwrap().peers;
    assert!(peers.iter().all(|peer| peer.linked && peer.failure.is_none()), "{peers:?}");
    assert!(!status(&gateway.address("monitor")).await.contains("cannot link"));
    leading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_is_told_on_both_sides() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let secret = world.folder().join("secret");
    std::fs::write(&secret, "quite another secret of a cluster").unwrap();
    let stranger =
        world.gateway("gateway-2", &[("cluster.secret_file", secret.to_str().unwrap())]).await;
    for (server, peer) in [(&stranger, "logic-1"), (&logic, "gateway-2")] {
        let failure = fails(server, peer, 2).await.failure.unwrap();
        assert!(failure.why.contains("cluster.secret"), "{failure:?}");
        let warned = warnings(server);
        assert_eq!(warned.len(), 1, "{warned:?}");
        contains_all(&warned[0], &[peer, "cluster.secret", "127.0.0.1:"]);
    }
    let (_, reasons) = stranger.monitor().ready().await.unwrap();
    contains_all(&reasons, &["logic-1", "cluster.secret"]);
    let shown = status(&gateway.address("monitor")).await;
    contains_all(&shown, &["logic-1 cannot link with gateway-2", "cluster.secret"]);
    // One that is refused takes nothing from those that are not.
    assert_eq!(gateway.monitor().ready().await.unwrap().0, 200);
}

/// A server of another version refuses, with words that would command a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_peer_that_refuses_is_told_in_one_line() {
    let world = World::gossip().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let refusing = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 16];
            stream.read_exact(&mut hello).await.unwrap();
            let mut refused = Refused::default();
            refused.set_reason(RefusedReason::Version);
            refused.detail.push_str("expected a protocol version from 8 to 9\n\u{1b}[2J");
            let mut bytes = BytesMut::new();
            LinkFrame::new(Kind::Refused(refused)).encode(&mut bytes);
            stream.write_all(&bytes).await.unwrap();
            // All that came is read, so that nothing that was sent is lost.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let gateway = world.gateway("gateway-1", &[]).await;
    let _logic = world.logic("logic-1", &[("service.port", &port)]).await;
    let failure = fails(&gateway, "logic-1", 2).await.failure.unwrap();
    contains_all(&failure.why, &["VERSION", "from 8 to 9\u{fffd}\u{fffd}[2J"]);
    let warned = warnings(&gateway);
    assert_eq!(warned.len(), 1, "{warned:?}");
    contains_all(&warned[0], &["logic-1", &port, "from 8 to 9"]);
    let dials = gateway.monitor().metric_where("imago_link_dials_failed_total", "version").await;
    assert!(dials.unwrap() >= 2.0);
    refusing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_gateway_tells_no_server_from_one_that_is_young() {
    let world = World::gossip().await;
    let gateway = world.gateway("gateway-1", &[]).await;
    eventually(SOON, "the gateway says that it knows no logic server", || async {
        let (_, reasons) = gateway.monitor().ready().await.ok()?;
        reasons.contains("no logic server is registered as chat: start one").then_some(())
    })
    .await;
    let other = world.gateway("gateway-2", &[]).await;
    let proxy = LinkProxy::start().await;
    proxy.block("gateway-2");
    let logic = world.logic("logic-1", &[("service.port", &proxy.port())]).await;
    proxy.lead_to(logic.address("link"));
    eventually(SOON, "the gateway says that its logic server is young", || async {
        let (_, reasons) = gateway.monitor().ready().await.ok()?;
        reasons.contains("logic-1 is linked and young: see its /ready").then_some(())
    })
    .await;
    fails(&other, "logic-1", 1).await;
    proxy.unblock("gateway-2");
    logic.ready().await;
    gateway.ready().await;
    other.ready().await;
}
