//! Bounds that hold for all peers together: a peer that holds much, or says nothing, keeps no other out.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use imago_proto::{
    Limits, LinkDecoder, LinkFrame, command,
    link::{Hello, Role, frame::Kind},
    msg::LoginReq,
};
use imago_tests::{RawClient, Server, World, eventually};
use prost::Message;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets this process hold as many connections as the system allows, and fails where that is too few.
fn open_files(needed: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(current >= needed, "this test needs {needed} open files, the limit is {current}");
}

/// Connections that say nothing but `first`.
async fn silent(address: &str, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap();
        // It may be closed already.
        let _ = stream.write_all(first).await;
        held.push(stream);
    }
    held
}

/// How many of these connections the other side has ended.
fn ended(held: &[TcpStream]) -> usize {
    let is_open = |stream: &TcpStream| {
        let read = stream.try_read(&mut [0; 512]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    held.iter().filter(|stream| !is_open(stream)).count()
}

/// Says hello on a link port, and waits for the answer.
async fn hello(address: &str) -> Kind {
    let hello = Hello {
        cluster: "imago".into(),
        min_version: 1,
        max_version: 100,
        service: "gateway".into(),
        service_id: "gateway-x".into(),
        incarnation: 1,
        role: Role::Gateway.into(),
        nonce: vec![7; 32],
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = BytesMut::new();
    LinkFrame::new(Kind::Hello(hello)).encode(&mut bytes);
    stream.write_all(&bytes).await.unwrap();
    let mut received = BytesMut::new();
    loop {
        if let Some(frame) = LinkDecoder::new(Limits::default()).decode(&mut received).unwrap() {
            return frame.kind;
        }
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "closed without an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_gateway_is_linked_at_once_beside_thousands_of_silent_connections() {
    open_files(4_000);
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let mut gateway = world.gateway("gateway-1", &[]).await;
    gateway.ready().await;
    gateway.stop().await;

    let address = logic.address("link");
    let held = silent(&address, 1_500, b"").await;
    let begun = Instant::now();
    let answer = timeout(PATIENCE, hello(&address)).await.expect("an answer in time");
    let waited = begun.elapsed();
    assert!(matches!(answer, Kind::HelloAck(_)), "{answer:?}");
    assert!(waited < Duration::from_millis(1_000), "answered after {waited:?}");

    let begun = Instant::now();
    let gateway = world.gateway("gateway-1", &[]).await;
    gateway.ready().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "ready after {:?}", begun.elapsed());
    let evicted = logic.monitor().metric("imago_link_handshakes_evicted_total").await.unwrap();
    assert!(evicted >= 1_000.0, "{evicted} evicted");
    drop(held);
}

/// The answer to a request as it stands.
async fn ask(address: &str, request: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_at_once_beside_a_thousand_slow_callers() {
    open_files(4_000);
    let world = World::gossip().await;
    let gateway = world.gateway("gateway-1", &[]).await;
    let address = gateway.address("monitor");
    let mut held = silent(&address, 400, b"").await;
    held.extend(silent(&address, 300, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ").await);
    held.extend(silent(&address, 300, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await);
    for path in ["/health", "/ready", "/health", "/ready"] {
        let begun = Instant::now();
        let answer = ask(&address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let waited = begun.elapsed();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        assert!(waited < Duration::from_millis(500), "{path} answered after {waited:?}");
    }
    assert!(gateway.monitor().metric("imago_monitor_evicted_total").await.unwrap() > 0.0);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_on_the_monitor_port_is_given_up_after_a_second() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let held = silent(&logic.address("monitor"), 1, b"GET /health HTTP/1.1\r\n").await;
    let begun = Instant::now();
    eventually(PATIENCE, "half a request is given up", || async {
        (ended(&held) == 1).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hosts_that_are_meant_are_told_who_is_here() {
    let world = World::gossip().await;
    let logic = world
        .logic("logic-1", &[("service.address", "logic.example"), ("monitor.hosts", "a.example")])
        .await;
    let address = logic.address("monitor");
    let get =
        |path: &'static str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for host in ["127.0.0.1", "[::1]:9000", "localhost:9000", "Logic.Example", "a.example:80"] {
        let answer = ask(&address, &get("/peers", host)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    for host in ["evil.example", "a.example.evil.example", "127.0.0.1.evil.example", ""] {
        let answer = ask(&address, &get("/peers", host)).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
        assert!(answer.contains("monitor.hosts"), "{answer}");
        for path in ["/health", "/metrics"] {
            let answer = ask(&address, &get(path, host)).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        }
        let exclude = "POST /admin/promotion/exclude/x HTTP/1.1\r\nContent-Length: 0\r\n";
        let answer = ask(&address, &format!("{exclude}Host: {host}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
    }
}

async fn cluster(settings: &[(&str, &str)]) -> (World, Server, Server) {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", settings).await;
    gateway.ready().await;
    (world, gateway, logic)
}

/// A message goes from one client to the other.
async fn chats(from: &mut RawClient, sequence: u32, to: &str, receiver: &mut RawClient) {
    from.talk(sequence, to, "still here").await;
    assert_eq!(from.packet().await.header.status, 0);
    assert_eq!(receiver.packet().await.header.command, command::CHAT_USER_TALK);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_never_end_are_bounded_over_all_clients() {
    let settings = [("limits.input_total", "8 MiB")];
    let (world, gateway, _logic) = cluster(&settings).await;
    let mut alice = RawClient::login(&gateway, &world.token("alice")).await;
    let mut bob = RawClient::login(&gateway, &world.token("bob")).await;
    let mut held = Vec::new();
    for number in 0..24_u32 {
        let mut client = RawClient::login(&gateway, &world.token(&format!("holds-{number}"))).await;
        // One frame, or two pieces of a message of which the first is whole.
        let first = if number.is_multiple_of(2) { 0x82 } else { 0x02 };
        let len = if first == 0x82 { 1 << 20 } else { (1 << 20) - 4096_u64 };
        let head = [&[first, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat();
        client.bytes(&head).await;
        client.bytes(&vec![7; (1 << 20) - 4096]).await;
        held.push(client);
        chats(&mut alice, 10 + number, "bob", &mut bob).await;
        let bytes = gateway.monitor().metric("imago_input_bytes").await.unwrap();
        assert!(bytes <= (10 << 20) as f64, "{bytes} bytes with {number} clients");
    }
    // Those that wait the longest had to go.
    assert_eq!(held[0].closed().await, Some(1013));
    assert_eq!(held[1].closed().await, Some(1013));
    assert!(gateway.monitor().metric("imago_input_evicted_total").await.unwrap() >= 12.0);
    // A large packet of another still comes through.
    bob.frame(imago_proto::Opcode::Ping, Bytes::new()).await;
    chats(&mut alice, 1000, "bob", &mut bob).await;
}

/// A client on plain TCP that takes nothing after its login, in a small window.
async fn deaf(world: &World, gateway: &Server, account: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = gateway.address("tcp").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let login = LoginReq { token: world.token(account), ..LoginReq::default() };
    let packet = imago_proto::LogicPacket::request(
        command::LOGIN_SIGNIN,
        1,
        "",
        login.encode_to_vec().into(),
    );
    let (payload, mut bytes) = (packet.encode(), BytesMut::new());
    let frame = imago_proto::Frame { opcode: imago_proto::Opcode::Binary, payload };
    imago_proto::tcp::encode(&frame, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
    timeout(PATIENCE, stream.read_exact(&mut [0; 5])).await.unwrap().unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_slow_readers_is_bounded_over_all_clients() {
    let settings = [
        ("limits.queue_total", "2 MiB"),
        ("limits.queue_bytes", "2 MiB"),
        ("limits.queue_messages", "100000"),
        ("limits.write_timeout", "5m"),
    ];
    let (world, gateway, _logic) = cluster(&settings).await;
    let mut loud = RawClient::login(&gateway, &world.token("loud")).await;
    let mut held = Vec::new();
    for number in 0..4 {
        held.push(deaf(&world, &gateway, &format!("deaf-{number}")).await);
    }
    let body = "x".repeat(4900);
    let monitor = gateway.monitor();
    let mut sequence = 1;
    // The kernel's buffers take a few megabytes before the gateway's queues fill.
    while monitor.metric("imago_queue_evicted_total").await.unwrap() < 1.0 {
        for _ in 0..25 {
            for number in 0..4 {
                sequence += 1;
                loud.talk(sequence, &format!("deaf-{number}"), &body).await;
                assert_eq!(loud.packet().await.header.status, 0);
            }
        }
        let bytes = monitor.metric("imago_queued_bytes").await.unwrap();
        assert!(bytes <= (3 << 20) as f64, "{bytes} bytes wait");
        assert!(sequence < 40_000, "no client cut off after {sequence} messages");
    }
    assert_eq!(monitor.metric("imago_slow_readers_total").await.unwrap(), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_in_beside_connections_that_never_log_in() {
    open_files(2_000);
    let settings = [("limits.unauthenticated", "100"), ("auth.login_timeout", "2m")];
    let (world, gateway, _logic) = cluster(&settings).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(RawClient::connect(&gateway).await);
    }
    let more = silent(&gateway.address("ws"), 150, b"GET / HTTP/1.1\r\n").await;
    let plain = silent(&gateway.address("tcp"), 150, b"\x02\0\0").await;
    let begun = Instant::now();
    let mut alice = RawClient::login(&gateway, &world.token("alice")).await;
    let mut bob = RawClient::login(&gateway, &world.token("bob")).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "in after {:?}", begun.elapsed());
    chats(&mut alice, 2, "bob", &mut bob).await;
    assert_eq!(idle[0].closed().await, Some(1013));
    // Connections may still wait in the kernel for a listener to take them.
    let monitor = gateway.monitor();
    eventually(PATIENCE, "three hundred are cut off", || async {
        let evicted = monitor.metric("imago_unauthenticated_evicted_total").await.ok()?;
        (evicted >= 300.0).then_some(())
    })
    .await;
    eventually(PATIENCE, "no more than a hundred are left", || async {
        let open = monitor.metric("imago_connections_open").await.ok()?;
        (open <= 102.0).then_some(())
    })
    .await;
    assert!(monitor.metric("imago_connections_unauthenticated").await.unwrap() <= 100.0);
    drop((more, plain));
    chats(&mut alice, 3, "bob", &mut bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_login_takes_little_memory() {
    let (_world, gateway, _logic) = cluster(&[]).await;
    let mut client = RawClient::connect(&gateway).await;
    // 17 KiB are announced: no login is that large.
    client.bytes(&[0x82, 0xfe, 0x44, 0x00, 1, 2, 3, 4]).await;
    assert_eq!(client.closed().await, Some(1009));
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut client = RawClient::connect(&gateway).await;
        client.bytes(&[0x82, 0xfe, 0x40, 0x00, 1, 2, 3, 4]).await;
        client.bytes(&[7; 16_000]).await;
        idle.push(client);
    }
    eventually(PATIENCE, "all of it is accounted", || async {
        let bytes = gateway.monitor().metric("imago_input_bytes").await.ok()?;
        ((1_600_000.0..=4_000_000.0).contains(&bytes)).then_some(())
    })
    .await;
    drop(idle);
    eventually(PATIENCE, "all of it is given back", || async {
        (gateway.monitor().metric("imago_input_bytes").await.ok()? == 0.0).then_some(())
    })
    .await;
}
