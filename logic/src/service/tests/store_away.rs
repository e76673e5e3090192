//! Requests while the message store is away.

use imago_proto::msg::MessageIndexReq;

use super::*;
use crate::{
    handlers,
    store::{Health, Need},
};

/// A store whose answers never come.
fn hanging() -> Router {
    async fn hang(_: Context, (): ()) -> Result<(), Reject> {
        std::future::pending().await
    }
    Router::new()
        .handle(command::CHAT_USER_TALK, hang)
        .handle("my.own", hang)
        .handle(command::LOGIN_SIGNIN, async |_: Context, (): ()| Ok(()))
}

fn why(answer: LogicPacket) -> (u32, String) {
    (answer.header.status, ErrorResp::decode(answer.body).unwrap().message)
}

#[tokio::test]
async fn requests_that_need_the_store_are_answered_at_once_and_others_as_ever() {
    let limits = WorkLimits { handler_timeout: Duration::from_secs(3600), ..WorkLimits::default() };
    let (world, a) = (World::with(hanging(), limits), gateway("a"));
    world.link(&a, &[session(1, "ann", ""), session(2, "bob", "")]);
    world.store_state.set(Health::Away);
    for _ in 0..3 {
        let (status, why) = why(world.call((&a, 1), command::CHAT_USER_TALK, "bob", &()).await);
        assert_eq!(status, Status::SystemException.code());
        assert!(why.contains("store is away, try again later"), "{why}");
    }
    assert_eq!(world.call((&a, 1), command::LOGIN_SIGNIN, "", &()).await.header.status, 0);
    world.store_state.set(Health::Well);
    let waits = world.forward((&a, 1), command::CHAT_USER_TALK, "bob", Bytes::new());
    assert_eq!(world.call((&a, 2), command::LOGIN_SIGNIN, "", &()).await.header.status, 0);
    assert!(!replies(&world).contains(&waits), "its handler is asked again");
}

#[tokio::test]
async fn requests_that_wait_for_the_store_are_answered_when_it_is_found_to_be_away() {
    let limits = WorkLimits { handler_timeout: Duration::from_secs(3600), ..WorkLimits::default() };
    let (world, a) = (World::with(hanging(), limits), gateway("a"));
    world.link(&a, &[session(1, "ann", ""), session(2, "bob", "")]);
    let waits = world.forward((&a, 1), command::CHAT_USER_TALK, "bob", Bytes::new());
    let behind = world.forward((&a, 1), command::CHAT_USER_TALK, "bob", Bytes::new());
    let own = world.forward((&a, 2), "my.own", "", Bytes::new());
    while world.service.queues.in_flight() < 3 {
        tokio::task::yield_now().await;
    }
    world.store_state.set(Health::Away);
    for request in [waits, behind] {
        let (status, why) = why(world.answer(request).await);
        assert_eq!(status, Status::SystemException.code());
        assert!(why.contains("store is away"), "{why}");
    }
    assert!(!replies(&world).contains(&own), "what it needs is not known");
}

#[tokio::test]
async fn while_the_store_can_only_be_read_what_reads_is_answered() {
    let (world, a) = (World::with(handlers::router(), WorkLimits::default()), gateway("a"));
    world.link(&a, &[session(1, "ann", ""), session(2, "bob", "")]);
    let hello = body("hello");
    let call = |body: Bytes| world.forward((&a, 1), command::CHAT_USER_TALK, "bob", body);
    assert_eq!(world.answer(call(hello.clone())).await.header.status, 0);
    world.store_state.set(Health::Unwritable);
    let (status, why) = why(world.answer(call(hello)).await);
    assert_eq!(status, Status::SystemException.code());
    assert!(why.contains("cannot be written, try again later"), "{why}");
    let index = MessageIndexReq::default();
    let answer = world.call((&a, 2), command::CHAT_OFFLINE_INDEX, "", &index).await;
    assert_eq!(answer.header.status, 0);
    for command in [command::CHAT_SYNC, command::CHAT_CONVERSATIONS] {
        let answer = world.call((&a, 2), command, "", &()).await;
        assert_eq!(answer.header.status, 0, "{command}");
    }
    world.store_state.set(Health::Away);
    let answer = world.call((&a, 2), command::CHAT_SYNC, "", &()).await;
    assert_eq!(answer.header.status, Status::SystemException.code());
}

#[test]
fn an_index_that_acknowledges_something_is_a_write() {
    let mut request =
        Forward { command: command::CHAT_OFFLINE_INDEX.to_owned(), ..Forward::default() };
    assert_eq!(handlers::store_need(&request), Need::Reading);
    request.acked.push(link::Given::default());
    assert_eq!(handlers::store_need(&request), Need::Writing);
    for (command, need) in [
        (command::CHAT_TALK_ACK, Need::Writing),
        (command::CHAT_HISTORY, Need::Reading),
        ("chat.of.another.service", Need::Writing),
        (command::LOGIN_SIGNIN, Need::Nothing),
    ] {
        let request = Forward { command: command.to_owned(), ..Forward::default() };
        assert_eq!(handlers::store_need(&request), need, "{command}");
    }
}
