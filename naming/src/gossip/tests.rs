use super::*;

const SOON: Duration = Duration::from_secs(10);

async fn join(seeds: Vec<String>) -> Gossip {
    join_with(seeds, GOSSIP_INTERVAL).await
}

async fn join_with(seeds: Vec<String>, interval: Duration) -> Gossip {
    let listen = ([127, 0, 0, 1], 0).into();
    let options = GossipOptions { listen, advertise: None, seeds, cluster: "test".to_owned() };
    Gossip::join_every(interval, options).await.unwrap()
}

/// The first member, which has told of a gateway.
async fn with_a_gateway() -> Gossip {
    let first = join(Vec::new()).await;
    let there = ServiceRegistration::new("gateway-1", "gateway", "127.0.0.1", 1);
    first.register(&there).await.unwrap();
    first
}

#[tokio::test]
async fn a_member_that_has_joined_knows_those_before_it() {
    let first = with_a_gateway().await;
    for _ in 0..10 {
        let next = join(vec![first.address().to_string()]).await;
        assert_eq!(next.instances("gateway").await.unwrap().len(), 1);
    }
}

/// A change travels without a round: members that gossip by themselves once an hour see it.
#[tokio::test]
async fn a_change_is_told_at_once() {
    const HOUR: Duration = Duration::from_secs(3600);
    let seed = join_with(Vec::new(), HOUR).await;
    let seeds = vec![seed.address().to_string()];
    let (one, other) = (join_with(seeds.clone(), HOUR).await, join_with(seeds, HOUR).await);
    for (member, id) in [(&one, "a"), (&other, "b"), (&one, "c")] {
        let mut followed = seed.subscribe("chat").await.unwrap();
        let service = ServiceRegistration::new(id, "chat", "127.0.0.1", 1);
        member.register(&service).await.unwrap();
        let is_there = |instance: &Instance| instance.service.id == id;
        timeout(SOON, async { while !followed.changed().await.instances.iter().any(is_there) {} })
            .await
            .unwrap();
    }
}

/// A member that joins has heard of the others only once, which does not tell how long they may be silent.
#[tokio::test]
async fn a_member_that_joins_takes_no_other_for_dead_before_its_second_word() {
    let first = with_a_gateway().await;
    for _ in 0..3 {
        let next = join(vec![first.address().to_string()]).await;
        loop {
            let known = next.instances("gateway").await.unwrap();
            if Instant::now() >= next.shared.acquainted {
                break;
            }
            assert!(known.iter().all(|it| it.health == Health::Passing), "{known:?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_member_whose_seeds_are_not_there_is_the_first() {
    let begun = Instant::now();
    join(vec!["127.0.0.1:1".to_owned()]).await;
    assert!(begun.elapsed() < JOIN_PATIENCE + Duration::from_secs(5));
}

/// The first life ran where the clock is an hour ahead.
#[tokio::test]
async fn a_server_that_moved_outranks_its_earlier_life_whatever_the_clocks() {
    const HOUR: u64 = 3_600_000;
    let seed = join(Vec::new()).await;
    let seeds = vec![seed.address().to_string()];
    let (first, second) = (join(seeds.clone()).await, join(seeds).await);
    let life = |port| ServiceRegistration::new("logic-1", "chat", "127.0.0.1", port);
    let ahead = unix_millis() + HOUR;
    told::tell(&mut *first.shared.chitchat.lock().await, &life(1), ahead).unwrap();
    first.spread().await;
    let is_at = async |port: u16| {
        let ports = async |member: &Gossip| {
            let known = member.instances("chat").await.unwrap();
            known.iter().map(|it| it.service.port).collect::<Vec<_>>()
        };
        let all = async {
            while ports(&seed).await != [port] || ports(&second).await != [port] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, all).await.unwrap();
    };
    is_at(1).await;
    second.register(&life(2)).await.unwrap();
    is_at(2).await;
    // Told again, it keeps its number, which is above all others.
    second.register(&life(2)).await.unwrap();
    first.register(&life(1)).await.unwrap();
    is_at(1).await;
}

/// A member of another make, which tells whatever the test wants.
async fn tells(member: &Gossip, id: &str, value: &str) {
    let key = format!("{KEY_PREFIX}{id}");
    member.shared.chitchat.lock().await.self_node_state().set(key, value.to_owned());
    member.spread().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_hides_no_other() {
    let seed = join(Vec::new()).await;
    let other = join(vec![seed.address().to_string()]).await;
    let told = |service: &ServiceRegistration| {
        serde_json::json!({ "service": service, "at": 1 }).to_string()
    };
    let at = |id: &str, address: &str, port| ServiceRegistration::new(id, "chat", address, port);
    tells(&other, "", &told(&at("", "127.0.0.1", 1))).await;
    tells(&other, "another", &told(&at("b", "127.0.0.1", 1))).await;
    tells(&other, "broken", "{").await;
    tells(&other, "astray", &told(&at("astray", "http://h", 1))).await;
    tells(&other, "portless", &told(&at("portless", "127.0.0.1", 0))).await;
    let high = told(&at("high", "127.0.0.1", 1)).replace("\"port\":1", "\"port\":70000");
    tells(&other, "high", &high).await;
    let more = told(&at("more", "127.0.0.1", 1)).replacen('{', "{\"unknown\":[1],", 1);
    tells(&other, "more", &more).await;
    other.register(&at("a", "127.0.0.1", 1)).await.unwrap();
    let known = async || {
        let known = seed.instances("chat").await.unwrap();
        known.into_iter().map(|it| it.service.id).collect::<Vec<_>>()
    };
    let all = async {
        while known().await != ["a", "more"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, all).await.unwrap();
}

#[tokio::test]
async fn what_is_no_gossip_and_another_cluster_end_nothing() {
    let seed = join(Vec::new()).await;
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..50 {
        stranger.send_to(b"no gossip", seed.address()).await.unwrap();
    }
    let options = GossipOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        seeds: vec![seed.address().to_string()],
        cluster: "another".to_owned(),
    };
    let foreigner = Gossip::join(options).await.unwrap();
    let there = ServiceRegistration::new("foreign", "gateway", "127.0.0.1", 1);
    foreigner.register(&there).await.unwrap();
    let next = join(vec![seed.address().to_string()]).await;
    let service = ServiceRegistration::new("gateway-1", "gateway", "127.0.0.1", 1);
    next.register(&service).await.unwrap();
    let known = async {
        loop {
            let known = seed.instances("gateway").await.unwrap();
            assert!(known.iter().all(|it| it.service.id == "gateway-1"), "{known:?}");
            if known.len() == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, known).await.unwrap();
}

#[tokio::test]
async fn what_others_could_not_reach_is_not_registered() {
    let member = join(Vec::new()).await;
    let service = ServiceRegistration::new("a", "chat", "http://h", 1);
    let refused = member.register(&service).await;
    assert!(
        matches!(&refused, Err(Error::Invalid { field, .. }) if field == "address"),
        "{refused:?}"
    );
}
