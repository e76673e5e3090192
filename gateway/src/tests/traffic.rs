//! Requests, answers and pushes between clients and a logic server.

use imago_proto::{BasicPacket, LogicPacket, Opcode, Packet, Status, msg::Meta};

use super::support::{Client, FAST, Received, World, eventually};

#[tokio::test]
async fn clients_of_both_transports_log_in_and_get_their_answers_in_order() {
    let world = World::start(&[]).await;
    for mut client in [Client::ws(world.ws).await, Client::tcp(world.tcp).await] {
        client.log_in("alice").await;
        for number in 0..200 {
            client.request("test.echo", number.to_string()).await;
        }
        for number in 0..200 {
            assert_eq!(client.recv_logic().await.body, number.to_string());
        }
    }
}

#[tokio::test]
async fn a_large_packet_passes_and_a_larger_one_ends_the_connection() {
    let world = World::start(&[]).await;
    for (mut client, account) in
        [(Client::ws(world.ws).await, "alice"), (Client::tcp(world.tcp).await, "bob")]
    {
        client.log_in(account).await;
        client.echo(&"x".repeat(900 << 10)).await;
        client.request("test.echo", vec![b'x'; 1 << 20]).await;
        client.expect_close(1009).await;
    }
}

#[tokio::test]
async fn heartbeats_are_answered_and_what_is_unknown_is_ignored() {
    let world = World::start(&[]).await;
    let mut client = Client::ws(world.ws).await;
    client.log_in("alice").await;
    let unknown = BasicPacket { code: imago_proto::BasicCode::Other(77), body: "?".into() };
    client.send_frame(Opcode::Binary, unknown.encode()).await;
    client.send_frame(Opcode::Binary, "").await;
    client.send_frame(Opcode::Pong, "").await;
    client.send_frame(Opcode::Ping, "are you there").await;
    assert_eq!(client.recv().await, Received::Pong("are you there".into()));
    client.send_frame(Opcode::Binary, BasicPacket::PING.encode()).await;
    assert_eq!(client.recv().await, Received::Packet(Packet::Basic(BasicPacket::PONG)));

    let mut client = Client::tcp(world.tcp).await;
    client.log_in("bob").await;
    client.send_bytes(&[0x09, 0, 0, 0, 0]).await;
    assert_eq!(client.recv().await, Received::Pong("".into()));
}

#[tokio::test]
async fn a_text_frame_that_holds_a_packet_counts_as_one() {
    let world = World::start(&[]).await;
    let mut client = Client::ws(world.ws).await;
    client.log_in("alice").await;
    let packet = LogicPacket::request("test.echo", 9, "", "hi".into());
    client.send_frame(Opcode::Text, packet.encode()).await;
    assert_eq!(client.recv_logic().await.body, "hi");
    client.send_frame(Opcode::Text, "hello?").await;
    client.expect_close(1002).await;
}

#[tokio::test]
async fn what_a_client_says_of_its_channel_and_in_metas_goes_no_further() {
    let world = World::start(&[]).await;
    let mut client = world.client("alice").await;
    let mut packet = LogicPacket::request("test.echo", 5, "bob", "hi".into());
    packet.header.channel_id = "somebody else's".to_owned();
    packet.header.meta =
        vec![Meta { key: "dest.server".into(), value: "evil".into(), ..Meta::default() }];
    client.send_frame(Opcode::Binary, packet.encode()).await;
    let answer = client.recv_logic().await.header;
    let (_, session) = world.logic.session_of("alice").unwrap();
    assert_eq!(answer.channel_id, session.channel_id);
    assert_eq!((answer.sequence, answer.dest.as_str()), (5, "bob"));
    assert_eq!(answer.meta, []);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off_and_no_other_notices() {
    let world = World::start(&[("limits.queue_messages", "64"), FAST[0], FAST[1]]).await;
    let mut slow = Client::ws(world.ws).await;
    slow.log_in("slow").await;
    let mut other = world.client("other").await;
    // Far more than the kernel's buffers hold.
    let body = vec![0; 100 << 10];
    let mut pushed = 0;
    while world.logic.session_of("slow").is_some() {
        assert!(pushed < 10_000, "never cut off");
        world.logic.push("slow", body.clone());
        pushed += 1;
        other.echo("still here").await;
    }
    eventually("gone from the table", || world.context.sessions.len() == 1).await;
    other.echo("and now").await;
    // The close frame comes behind what was written, never in the middle of it.
    loop {
        match slow.recv().await {
            Received::Packet(_) => {}
            Received::Close(code) => break assert_eq!(code, Some(1013)),
            Received::End => break,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn requests_over_the_rate_are_answered_and_the_others_too() {
    let world =
        World::start(&[("limits.messages_per_second", "1"), ("limits.message_burst", "5")]).await;
    let mut client = world.client("alice").await;
    for _ in 0..50 {
        client.request("test.echo", "x").await;
    }
    let mut succeeded = 0;
    for _ in 0..50 {
        let answer = client.recv_logic().await;
        match answer.header.status {
            0 => succeeded += 1,
            status => {
                assert_eq!(status, Status::SystemException.code());
                assert!(String::from_utf8_lossy(&answer.body).contains("too many messages"));
            }
        }
    }
    assert!((5..10).contains(&succeeded), "{succeeded}");
}

#[tokio::test]
async fn more_requests_than_the_window_are_all_answered() {
    // However long they wait: a client that sends much at once holds no other up.
    let world = World::start(&[("forward.window", "4"), ("forward.delay", "1ms")]).await;
    let mut client = world.client("alice").await;
    for _ in 0..100 {
        client.request("test.late", "x").await;
    }
    eventually("the window is full", || world.logic.forwards("test.late").len() == 4).await;
    world.logic.release(100);
    for sequence in 2..=101 {
        assert_eq!(client.recv_logic().await.header.sequence, sequence);
    }
}

#[tokio::test]
async fn what_waits_unread_for_too_long_while_others_wait_too_is_refused() {
    let recorder = imago_container::metrics_recorder().unwrap();
    let counted = || {
        let text = recorder.render();
        let line = text.lines().find_map(|line| line.strip_prefix("imago_forwards_refused_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = counted();
    let world = World::start(&[]).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = world.client(&format!("client-{number}")).await;
        for _ in 0..80 {
            client.request("test.late", "x").await;
        }
        clients.push(client);
    }
    // A window of 64 of each, and what is more is not forwarded, nor forgotten.
    eventually("the windows are full", || world.logic.forwards("test.late").len() == 5 * 64).await;
    for client in &mut clients {
        for _ in 0..16 {
            let (status, why) = client.recv_refusal().await;
            assert_eq!((status, why.as_str()), (300, "busy, try again later"));
        }
    }
    assert!(counted() >= before + 5 * 16);
    world.logic.release(5 * 64);
    for client in &mut clients {
        for _ in 0..64 {
            assert_eq!(client.recv_logic().await.header.status, 0);
        }
        client.echo("as before").await;
    }
    assert_eq!(world.logic.forwards("test.late").len(), 5 * 64);
}

#[tokio::test]
async fn an_answer_too_large_for_old_clients_becomes_an_error() {
    let world = World::start(&[]).await;
    let mut client = world.client("alice").await;
    client.request("test.large", "").await;
    let (status, why) = client.recv_refusal().await;
    assert_eq!((status, why.as_str()), (300, "the answer is too large"));
    client.echo("still here").await;
}

#[tokio::test]
async fn a_request_that_no_server_answers_is_answered_by_the_gateway() {
    let world = World::start(&[("forward.timeout", "300ms")]).await;
    let mut client = world.client("alice").await;
    client.request("test.silent", "").await;
    let (status, why) = client.recv_refusal().await;
    assert_eq!(status, 300);
    assert!(why.contains("in time"), "{why}");
}
