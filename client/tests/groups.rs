//! Groups, and looking at conversations.

mod support;

use futures::{StreamExt, future::join_all};
use imago_client::{Client, Error, Event, GroupId, NewGroup, Place, Range, Seq};

use self::support::{Server, bodies, eventually, numbers};

#[allow(clippy::unwrap_used, reason = "only tests use it")]
async fn group(client: &Client, members: &[&str]) -> GroupId {
    client.group_create(NewGroup::new("team", members.iter().copied()).open()).await.unwrap()
}

#[allow(clippy::unwrap_used, reason = "only tests use it")]
async fn talk_in_a_group(server: &Server) {
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    let team = group(&alice, &["bob", "carol"]).await;
    let detail = bob.group(team.clone()).await.unwrap();
    assert_eq!((detail.id, detail.name.as_str()), (team.clone(), "team"));
    let members = bob.group_members(team.clone()).await.unwrap();
    let names: Vec<_> = members.iter().map(|member| member.account.as_str()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    let (mut to_alice, mut to_bob) = (alice.messages(), bob.messages());
    for number in 1..=20 {
        let receipt = alice.group_talk(team.clone(), "ping").await.unwrap();
        assert_eq!(receipt.seq, Seq(2 * number - 1));
        let ping = to_bob.next().await.unwrap();
        bob.ack(&ping);
        assert_eq!((ping.group.as_ref(), ping.sender.as_str()), (Some(&team), "alice"));
        assert_eq!((ping.seq, ping.conversation), (receipt.seq, receipt.conversation));
        assert_eq!(ping.sent_to, None);
        bob.group_talk(team.clone(), "pong").await.unwrap();
        assert_eq!(to_alice.next().await.unwrap().body, "pong");
    }
    bob.logout().await.unwrap();
    assert_eq!(server.world().store.cursor_in("bob", team.as_str()), 40, "his own are, too");
}

#[tokio::test]
async fn members_of_a_group_talk() {
    talk_in_a_group(&Server::ws().await).await;
}

#[tokio::test]
async fn members_of_a_group_talk_by_an_old_server() {
    let server = Server::tcp().await;
    server.world().faults.old = true;
    talk_in_a_group(&server).await;
}

#[tokio::test]
async fn who_joins_later_sees_what_comes_from_then_on() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    let team = group(&alice, &[]).await;
    for number in 0..50 {
        alice.group_talk(team.clone(), number.to_string()).await.unwrap();
    }
    bob.group_join(team.clone()).await.unwrap();
    assert_eq!(bob.group_talk(team.clone(), "hello").await.unwrap().seq, Seq(51));
    for number in 50..60 {
        alice.group_talk(team.clone(), number.to_string()).await.unwrap();
    }
    let mut to_bob = bob.messages();
    assert_eq!(bodies(&mut to_bob, 10).await, numbers(50..60));
    assert_eq!(bodies(&mut alice.messages(), 1).await, ["hello"]);
    bob.group_quit(team.clone()).await.unwrap();
    let refused = bob.group_talk(team.clone(), "may I?").await;
    assert!(matches!(refused, Err(Error::Rejected { status: 105, .. })), "{refused:?}");
    for number in 0..9 {
        alice.group_talk(team.clone(), number.to_string()).await.unwrap();
    }
    alice.group_add(team.clone(), "bob").await.unwrap();
    alice.group_talk(team.clone(), "welcome back").await.unwrap();
    assert_eq!(bodies(&mut to_bob, 1).await, ["welcome back"]);
}

#[tokio::test]
async fn group_messages_survive_cut_connections_and_lost_pushes() {
    let server = Server::tcp().await;
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    let team = group(&alice, &["bob"]).await;
    {
        let mut world = server.world();
        world.faults.cut_every = Some(7);
        world.faults.lose_every = Some(3);
        world.faults.double = true;
    }
    let talks = |client: &Client, what: &'static str| {
        let (client, team) = (client.clone(), team.clone());
        join_all((0..60).map(move |number| {
            let (client, team) = (client.clone(), team.clone());
            async move { client.group_talk(team, format!("{what}{number}")).await.unwrap() }
        }))
    };
    let (mut to_alice, mut to_bob) = (alice.messages(), bob.messages());
    let (_, _, by_bob, by_alice) = tokio::join!(
        talks(&alice, "a"),
        async {
            talks(&bob, "b").await;
            // The last pushes may be lost for good: nothing after them shows the gap.
            alice.sync().await.unwrap();
            bob.sync().await.unwrap();
        },
        bodies(&mut to_alice, 60),
        bodies(&mut to_bob, 60),
    );
    let expected = |what: &str| (0..60).map(|number| format!("{what}{number}")).collect::<Vec<_>>();
    assert_eq!(by_bob, expected("b"));
    assert_eq!(by_alice, expected("a"));
    assert_eq!(server.world().store.bodies_in(team.as_str()).len(), 120, "once each");
}

#[tokio::test]
async fn an_unanswered_creation_makes_one_group() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    server.world().faults.swallowed = 2;
    let team = group(&alice, &["bob"]).await;
    assert_eq!(team.as_str(), "g1");
    server.world().faults.cut_every = Some(1);
    let id = || NewGroup::new("another", ["bob"]).id("mine");
    let making = tokio::spawn({
        let alice = alice.clone();
        async move { alice.group_create(id()).await }
    });
    eventually("it is made", || !server.world().store.members("g2").is_empty()).await;
    server.world().faults.cut_every = None;
    let another = making.await.unwrap().unwrap();
    assert_eq!(alice.group_create(id()).await.unwrap(), another);
    assert_eq!(another.as_str(), "g2");
}

#[tokio::test]
async fn members_hear_of_their_groups() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    let mut events = bob.events();
    let team = group(&alice, &["bob"]).await;
    let members = vec!["alice".into(), "bob".into()];
    let created = Event::GroupCreated { group: team.clone(), members };
    assert_eq!(events.next().await, Some(created));
    alice.group_add(team.clone(), "carol").await.unwrap();
    let joined = Event::GroupJoined { group: team.clone(), account: "carol".into() };
    assert_eq!(events.next().await, Some(joined));
    alice.group_remove(team.clone(), "carol").await.unwrap();
    let left = Event::GroupLeft { group: team, account: "carol".into() };
    assert_eq!(events.next().await, Some(left));
    bob.logout().await.unwrap();
    assert_eq!(events.next().await, None);
    assert_eq!(bob.events().next().await, None);
}

#[tokio::test]
async fn history_is_read_in_both_directions() {
    let server = Server::ws().await;
    for number in 0..30 {
        server.world().tell("bob", "alice", &number.to_string());
    }
    let alice = server.client("alice").connect().await.unwrap();
    alice.talk("bob", "30").await.unwrap();
    let read = async |range| {
        let history = alice.history(Place::with("bob"), range, 10).await.unwrap();
        (history.messages.iter().map(|m| m.body.clone()).collect::<Vec<_>>(), history.more)
    };
    assert_eq!(read(Range::Latest).await, (numbers(21..31), true));
    assert_eq!(read(Range::Before(Seq(22))).await, (numbers(11..21), true));
    assert_eq!(read(Range::Before(Seq(5))).await, (numbers(0..4), false));
    assert_eq!(read(Range::After(Seq(28))).await, (numbers(28..31), false));
    let latest = alice.history(Place::with("bob"), Range::Latest, 1).await.unwrap();
    assert_eq!(latest.messages[0].sent_to, Some("bob".into()));
    let none = alice.history(Place::group("g99"), Range::Latest, 1).await;
    assert!(matches!(none, Err(Error::Rejected { status: 105, .. })), "{none:?}");
}

#[tokio::test]
async fn conversations_come_page_by_page() {
    let server = Server::ws().await;
    for name in ["bob", "carol", "dave"] {
        server.world().tell(name, "alice", "hi");
    }
    let alice = server.client("alice").connect().await.unwrap();
    let team = group(&alice, &["bob"]).await;
    server.world().tell_group("bob", team.as_str(), "all of you");
    let first = alice.conversations(None).await.unwrap();
    let group = &first.conversations[0];
    assert_eq!((&group.place, group.name.as_deref()), (&Place::Group(team), Some("team")));
    assert_eq!((group.unread, group.head), (1, Seq(1)));
    assert_eq!(group.last.as_ref().unwrap().body, "all of you");
    assert_eq!(first.conversations[1].place, Place::with("dave"));
    let second = alice.conversations(first.next.as_deref()).await.unwrap();
    assert_eq!(second.conversations[1].place, Place::with("bob"));
    assert_eq!(second.next, None);
}
