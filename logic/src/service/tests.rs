//! The order of requests, their bounds and kickouts.

mod kicks;
mod overlapping;
mod redelivery;
mod store_away;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use imago_proto::{
    Status,
    msg::{ErrorResp, MessageReq},
};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    Context, Recover, Reject, Timing,
    support::{Sent, World, gateway, session},
};

fn body(text: &str) -> Bytes {
    MessageReq { body: text.to_owned(), ..MessageReq::default() }.encode_to_vec().into()
}

/// A handler that waits for permits, and counts how many are inside.
#[derive(Clone, Default)]
struct Gate {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    permits: Arc<Option<Semaphore>>,
}

impl Gate {
    fn closed() -> Self {
        Self { permits: Arc::new(Some(Semaphore::new(0))), ..Self::default() }
    }

    fn open(&self) {
        (*self.permits).as_ref().unwrap().close();
    }

    fn router(&self) -> Router {
        let gate = self.clone();
        Router::new().handle("gate", move |_: Context, request: MessageReq| {
            let gate = gate.clone();
            async move {
                let inside = gate.inside.fetch_add(1, Ordering::SeqCst) + 1;
                gate.most.fetch_max(inside, Ordering::SeqCst);
                if let Some(permits) = &*gate.permits {
                    // Closed when the gate opens.
                    let _ = permits.acquire().await;
                }
                gate.inside.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Reject>(request)
            }
        })
    }
}

fn replies(world: &World) -> Vec<u64> {
    let sent = world.outlet.sent().into_iter();
    sent.filter_map(|sent| match sent {
        Sent::Reply { reply, .. } => Some(reply.request),
        _ => None,
    })
    .collect()
}

#[tokio::test]
async fn requests_of_one_session_are_worked_on_one_after_the_other() {
    let (gate, a) = (Gate::default(), gateway("a"));
    let world = World::with(gate.router(), WorkLimits::default());
    world.link(&a, &[session(1, "ann", "")]);
    let asked: Vec<u64> =
        (0..100).map(|n| world.forward((&a, 1), "gate", "", body(&n.to_string()))).collect();
    world.service.idle().await;
    assert_eq!(replies(&world), asked);
    assert_eq!(gate.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_session_does_not_wait_for_another() {
    let (gate, a) = (Gate::closed(), gateway("a"));
    let router = gate.router().handle("quick", async |_: Context, (): ()| Ok(()));
    let world = World::with(router, WorkLimits::default());
    world.link(&a, &[session(1, "ann", ""), session(2, "bob", "")]);
    let slow = world.forward((&a, 1), "gate", "", body("slow"));
    world.call((&a, 2), "quick", "", &()).await;
    assert!(!replies(&world).contains(&slow));
    gate.open();
    world.answer(slow).await;
}

#[tokio::test]
async fn more_than_the_bounds_is_answered_busy_and_the_rest_goes_on() {
    for (limits, accepted) in [
        (WorkLimits { session_queue: 3, ..WorkLimits::default() }, 4),
        (WorkLimits { in_flight: 5, ..WorkLimits::default() }, 5),
    ] {
        let (gate, a) = (Gate::closed(), gateway("a"));
        let world = World::with(gate.router(), limits);
        world.link(&a, &[session(1, "ann", "")]);
        let first = world.forward((&a, 1), "gate", "", body("first"));
        while gate.inside.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<u64> =
            (0..9).map(|_| world.forward((&a, 1), "gate", "", body("x"))).collect();
        for refused in &others[accepted - 1..] {
            let answer = world.answer(*refused).await;
            assert_eq!(answer.header.status, Status::SystemException.code());
            assert_eq!(answer.header.channel_id, "gate_ann_1");
            assert!(ErrorResp::decode(answer.body).unwrap().message.contains("busy"));
        }
        gate.open();
        for accepted in [&[first], &others[..accepted - 1]].concat() {
            assert_eq!(world.answer(accepted).await.header.status, 0);
        }
        // And there is room again.
        assert_eq!(world.call((&a, 1), "gate", "", &()).await.header.status, 0);
    }
}

#[tokio::test]
async fn a_panic_hurts_only_its_own_request_with_layers_and_without() {
    for router in [Router::new(), Router::new().layer(Recover).layer(Timing)] {
        async fn fall(_: Context, (): ()) -> Result<(), Reject> {
            panic!("secret internals")
        }
        let router = router
            .handle("fall", fall)
            .handle("stand", async |_: Context, request: MessageReq| Ok(request));
        let (world, a) = (World::with(router, WorkLimits::default()), gateway("a"));
        world.link(&a, &[session(1, "ann", "")]);
        let fallen = world.forward((&a, 1), "fall", "", Bytes::new());
        let stood = world.forward((&a, 1), "stand", "", body("hi"));
        let answer = world.answer(fallen).await;
        assert_eq!(answer.header.status, Status::SystemException.code());
        let why = ErrorResp::decode(answer.body).unwrap().message;
        assert!(!why.is_empty() && !why.contains("secret"), "{why}");
        assert_eq!(world.answer(stood).await.header.status, 0);
        world.service.idle().await;
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_given_up() {
    let router = Router::new().handle("stuck", async |_: Context, (): ()| {
        std::future::pending::<()>().await;
        Ok(())
    });
    let limits = WorkLimits { handler_timeout: Duration::from_millis(20), ..WorkLimits::default() };
    let (world, a) = (World::with(router, limits), gateway("a"));
    world.link(&a, &[session(1, "ann", "")]);
    let answer = world.call((&a, 1), "stuck", "", &()).await;
    assert_eq!(answer.header.status, Status::SystemException.code());
    assert!(ErrorResp::decode(answer.body).unwrap().message.contains("too long"));
    world.service.idle().await;
}

#[tokio::test]
async fn who_is_not_known_is_told_to_log_in_again() {
    let (world, a) = (World::new(), gateway("a"));
    world.link(&a, &[session(1, "ann", "")]);
    let strangers = [world.forward((&a, 2), "chat.talk.ack", "", Bytes::new()), {
        world.forward((&gateway("b"), 1), "chat.talk.ack", "", Bytes::new())
    }];
    for request in strangers {
        let answer = world.answer(request).await;
        assert_eq!(answer.header.status, Status::SessionNotFound.code());
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn answers_and_pushes_too_large_for_a_frame_never_reach_a_link() {
    async fn flood(ctx: Context, (): ()) -> Result<MessageReq, Reject> {
        let large = MessageReq { body: "x".repeat(2 << 20), ..MessageReq::default() };
        ctx.push("flood", &ctx.session().account, &large);
        Ok(large)
    }
    async fn push_only(ctx: Context, (): ()) -> Result<(), Reject> {
        flood(ctx, ()).await.map(|_| ())
    }
    let router = Router::new().handle("flood", flood).handle("push", push_only);
    let (world, a) = (World::with(router, WorkLimits::default()), gateway("a"));
    world.link(&a, &[session(1, "ann", "")]);
    let answer = world.call((&a, 1), "flood", "", &()).await;
    assert_eq!(answer.header.status, Status::SystemException.code());
    assert!(ErrorResp::decode(answer.body).unwrap().message.contains("too large"));
    assert_eq!(world.call((&a, 1), "push", "", &()).await.header.status, 0);
    assert!(world.pushes().await.is_empty());
}

#[tokio::test]
async fn one_frame_a_gateway_carries_a_push_to_many_sessions() {
    async fn shout(ctx: Context, (): ()) -> Result<(), Reject> {
        let mut sessions = ctx.locate(&"ann".into()).await;
        sessions.extend(ctx.locate(&"bob".into()).await);
        ctx.push_to_sessions("shout", "all", sessions, &MessageReq::default());
        Ok(())
    }
    let world = World::with(Router::new().handle("shout", shout), WorkLimits::default());
    let (a, b) = (gateway("a"), gateway("b"));
    let devices = |ids: [u64; 3]| ids.map(|id| session(id, "ann", &format!("device {id}")));
    world.link(&a, &devices([1, 2, 3]));
    world.link(&b, &[session(1, "bob", ""), session(2, "cid", "")]);
    world.call((&b, 2), "shout", "", &()).await;
    let mut pushes = world.pushes().await;
    pushes.sort_by(|one, other| one.0.cmp(&other.0));
    let seen: Vec<_> = pushes.iter().map(|(to, ids, _)| (to.as_str(), ids.clone())).collect();
    assert_eq!(seen, [("a", vec![1, 2, 3]), ("b", vec![1])]);
    assert_eq!(pushes[0].2.header.dest, "all");
}

#[tokio::test]
async fn a_refusal_pushes_nothing() {
    async fn refuse(ctx: Context, (): ()) -> Result<(), Reject> {
        ctx.push("x", &ctx.session().account, &());
        Err(Reject::new(Status::Unauthorized, "not you"))
    }
    let world = World::with(Router::new().handle("refuse", refuse), WorkLimits::default());
    let a = gateway("a");
    world.link(&a, &[session(1, "ann", "")]);
    assert_eq!(world.call((&a, 1), "refuse", "", &()).await.header.status, 105);
    assert!(world.pushes().await.is_empty());
}

/// As in the vector "kickout push" (docs/wire.md, "Test vectors").
#[tokio::test]
async fn the_older_login_gets_its_notice() {
    let (world, a, b) = (World::new(), gateway("a"), gateway("b"));
    let named = |id, channel: &str, login_time| link::Session {
        channel_id: channel.to_owned(),
        login_time,
        ..session(id, "test1", "")
    };
    world.link(&a, &[named(1, "gate01_test1_2", 1)]);
    world.link(&b, &[named(1, "gate01_test1_3", 2)]);
    let (to, session, notice) = world
        .outlet
        .find(|sent| {
            sent.iter().find_map(|sent| match sent {
                Sent::Kick { gateway, session, packet } => {
                    Some((gateway.clone(), *session, packet.clone()))
                }
                _ => None,
            })
        })
        .await;
    assert_eq!((to, session), (a.clone(), 1));
    let header = &notice.header;
    assert_eq!((header.command.as_str(), header.flag, header.status), ("login.signin", 2, 0));
    assert_eq!((header.channel_id.as_str(), header.dest.as_str()), ("gate01_test1_3", ""));
    let notify = KickoutNotify::decode(notice.body).unwrap();
    assert_eq!(notify.channel_id, "gate01_test1_2");
    // It is not known any more, and its gateway may say so late.
    let late = world.forward((&a, 1), "chat.talk.ack", "", Bytes::new());
    assert_eq!(world.answer(late).await.header.status, 404);
}

#[tokio::test]
async fn nothing_runs_on_after_the_stop() {
    let (gate, a) = (Gate::closed(), gateway("a"));
    let world = World::with(gate.router(), WorkLimits::default());
    world.link(&a, &[session(1, "ann", "")]);
    for _ in 0..10 {
        world.forward((&a, 1), "gate", "", body("x"));
    }
    world.service.redeliver(&a, vec![link::Missing { session: 1, ..Default::default() }]);
    world.stop.cancel();
    world.tasks.close();
    tokio::time::timeout(Duration::from_secs(10), world.tasks.wait()).await.unwrap();
    world.service.idle().await;
}

#[tokio::test]
async fn layers_wrap_in_the_order_they_are_named() {
    use crate::{Handler, Layer};
    use futures::future::BoxFuture;

    struct Mark(&'static str);
    struct Marked(&'static str, Arc<dyn Handler>);
    impl Layer for Mark {
        fn wrap(&self, _: &str, next: Arc<dyn Handler>) -> Arc<dyn Handler> {
            Arc::new(Marked(self.0, next))
        }
    }
    impl Handler for Marked {
        fn call(&self, ctx: Context, body: Bytes) -> BoxFuture<'static, Result<Bytes, Reject>> {
            let (mark, next) = (self.0, self.1.clone());
            Box::pin(async move {
                let answer = next.call(ctx, body).await?;
                let mut resp = MessageReq::decode(answer).unwrap();
                resp.body.push_str(mark);
                Ok(resp.encode_to_vec().into())
            })
        }
    }
    let router = Router::new()
        .layer(Mark("outer"))
        .handle("echo", async |_: Context, request: MessageReq| Ok(request))
        .layer(Mark("inner"));
    let (world, a) = (World::with(router, WorkLimits::default()), gateway("a"));
    world.link(&a, &[session(1, "ann", "")]);
    let echo: MessageReq = world.success((&a, 1), "echo", "", &()).await;
    assert_eq!(echo.body, "innerouter");
}
