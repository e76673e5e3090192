//! Peers that do not belong here get no link, with a reason in the log and a counter.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use bytes::BytesMut;
use imago_proto::{
    Limits, LinkDecoder, LinkFrame,
    link::{Hello, RefusedReason, Role, frame::Kind},
};
use imago_tests::{Server, World, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Waits until a server has refused somebody for this reason, and has logged it.
async fn refuses(server: &Server, reason: &str, words: &str) {
    let what = format!("{} refuses a peer: {reason}", server.id);
    let label = format!("reason=\"{reason}\"");
    eventually(Duration::from_secs(20), &what, || async {
        let refused = server.monitor().metric_where("imago_link_refused_total", &label).await;
        (refused.ok()? > 0.0).then_some(())
    })
    .await;
    assert!(server.log().contains(words), "{words:?} is not in the log of {}", server.id);
}

#[tokio::test]
async fn a_gateway_of_another_cluster_is_refused_and_stays_young() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    logic.ready().await;
    let gateway = world.gateway("gateway-1", &[("cluster.name", "other")]).await;
    refuses(&logic, "cluster", "expected cluster").await;
    refuses(&gateway, "cluster", "expected cluster").await;
    assert_eq!(gateway.monitor().ready().await.unwrap().0, 503);
}

#[tokio::test]
async fn a_gateway_with_another_secret_is_refused_and_stays_young() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    logic.ready().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "quite another secret of a cluster").unwrap();
    let gateway =
        world.gateway("gateway-1", &[("cluster.secret_file", secret.to_str().unwrap())]).await;
    refuses(&gateway, "mac", "proof of the cluster secret").await;
    refuses(&logic, "mac", "proof of the cluster secret").await;
    assert_eq!(gateway.monitor().ready().await.unwrap().0, 503);
}

/// Says hello, and gives the answer.
async fn hello(server: &Server, change: impl FnOnce(&mut Hello)) -> Kind {
    let mut hello = Hello {
        cluster: "imago".into(),
        min_version: 4,
        max_version: 4,
        service: "gateway".into(),
        service_id: "gateway-x".into(),
        incarnation: 1,
        role: Role::Gateway.into(),
        nonce: vec![7; 32],
    };
    change(&mut hello);
    let mut stream = TcpStream::connect(server.address("link")).await.unwrap();
    let mut bytes = BytesMut::new();
    LinkFrame::new(Kind::Hello(hello)).encode(&mut bytes);
    stream.write_all(&bytes).await.unwrap();
    let mut received = BytesMut::new();
    loop {
        let frame = LinkDecoder::new(Limits::default()).decode(&mut received).unwrap();
        if let Some(frame) = frame {
            return frame.kind;
        }
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "closed without an answer");
    }
}

#[tokio::test]
async fn an_older_protocol_version_is_refused() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let answer = hello(&logic, |hello| (hello.min_version, hello.max_version) = (1, 2)).await;
    let Kind::Refused(refused) = answer else { panic!("expected a refusal, got {answer:?}") };
    assert_eq!(refused.reason(), RefusedReason::Version);
    assert!(refused.detail.contains("from 4 to 4"), "{}", refused.detail);
    refuses(&logic, "version", "expected a protocol version").await;
}

#[tokio::test]
async fn a_logic_server_is_no_gateway_and_noise_is_no_hello() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let answer = hello(&logic, |hello| hello.role = Role::Logic.into()).await;
    assert!(matches!(answer, Kind::Refused(refused) if refused.reason() == RefusedReason::Role));

    let mut stream = TcpStream::connect(logic.address("link")).await.unwrap();
    stream.write_all(b"\xff\xff\xff\xffGET / HTTP/1.1\r\n\r\n").await.unwrap();
    refuses(&logic, "malformed", "over the limit").await;
}
