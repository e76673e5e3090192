//! Requests of one session that do not wait for each other.

use parking_lot::Mutex;

use super::*;

/// Handlers that note when they begin, and wait until they are let go.
#[derive(Clone, Default)]
struct Stage {
    begun: Arc<Mutex<Vec<String>>>,
    cues: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl Stage {
    fn cue(&self, name: &str) -> Arc<Semaphore> {
        let mut cues = self.cues.lock();
        cues.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }

    /// Lets a handler end.
    fn release(&self, name: &str) {
        self.cue(name).add_permits(1);
    }

    async fn play(self, ctx: Context, request: MessageReq) -> Result<MessageReq, Reject> {
        self.begun.lock().push(request.body.clone());
        ctx.push("heard", &"bob".into(), &request);
        self.cue(&request.body).acquire().await.unwrap().forget();
        match request.extra.as_str() {
            "" => Ok(request),
            why => Err(Reject::failed(why)),
        }
    }

    fn router(&self) -> Router {
        let (one, other) = (self.clone(), self.clone());
        Router::new()
            .handle_overlapping("overlap", move |ctx, request| one.clone().play(ctx, request))
            .handle("alone", move |ctx, request| other.clone().play(ctx, request))
    }

    async fn has_begun(&self, names: &[&str]) {
        while *self.begun.lock() != names {
            tokio::task::yield_now().await;
        }
    }
}

fn stage(limits: WorkLimits) -> (Stage, World) {
    let stage = Stage::default();
    let world = World::with(stage.router(), limits);
    world.link(&gateway("a"), &[session(1, "ann", ""), session(2, "bob", "")]);
    (stage, world)
}

#[tokio::test]
async fn answers_and_pushes_keep_the_order_of_the_requests_in_any_order_of_their_ends() {
    let (stage, world) = stage(WorkLimits::default());
    let a = gateway("a");
    let asked = ["1", "2", "3"].map(|name| world.forward((&a, 1), "overlap", "", body(name)));
    stage.has_begun(&["1", "2", "3"]).await;
    for name in ["3", "2"] {
        stage.release(name);
    }
    // A request of another session shows that nothing came out meanwhile.
    world.service.forward(&gateway("b"), Forward { request: 99, ..Forward::default() }, body(""));
    world.answer(99).await;
    assert_eq!(replies(&world), [99]);
    stage.release("1");
    world.service.idle().await;
    assert_eq!(replies(&world)[1..], asked);
    let kinds: Vec<bool> =
        world.outlet.sent()[1..].iter().map(|sent| matches!(sent, Sent::Push { .. })).collect();
    assert_eq!(kinds, [false, true, false, true, false, true], "each push behind its own answer");
}

#[tokio::test]
async fn a_handler_that_does_not_say_so_overlaps_with_nothing() {
    let (stage, world) = stage(WorkLimits::default());
    let a = gateway("a");
    for (command, name) in [("overlap", "1"), ("alone", "2"), ("overlap", "3"), ("overlap", "4")] {
        world.forward((&a, 1), command, "", body(name));
    }
    stage.has_begun(&["1"]).await;
    stage.release("1");
    stage.has_begun(&["1", "2"]).await;
    stage.release("2");
    stage.has_begun(&["1", "2", "3", "4"]).await;
    stage.release("3");
    stage.release("4");
    world.service.idle().await;
}

#[tokio::test]
async fn what_fails_pushes_nothing_and_lets_the_others_end() {
    let (stage, world) = stage(WorkLimits::default());
    let a = gateway("a");
    let fails = MessageReq { body: "1".into(), extra: "no".into(), ..MessageReq::default() };
    let first = world.forward((&a, 1), "overlap", "", fails.encode_to_vec().into());
    let second = world.forward((&a, 1), "overlap", "", body("2"));
    stage.has_begun(&["1", "2"]).await;
    stage.release("2");
    stage.release("1");
    assert_eq!(world.answer(first).await.header.status, Status::SystemException.code());
    assert_eq!(world.answer(second).await.header.status, 0);
    assert_eq!(world.pushes().await.len(), 1);
}

#[tokio::test]
async fn no_more_than_a_bound_begin_and_each_has_a_time_limit() {
    let limits = WorkLimits { handler_timeout: Duration::from_millis(20), ..WorkLimits::default() };
    let (stage, world) = stage(limits);
    let a = gateway("a");
    let asked: Vec<u64> =
        (0..100).map(|n| world.forward((&a, 1), "overlap", "", body(&n.to_string()))).collect();
    let names: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    stage.has_begun(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world.service.idle().await;
    assert_eq!(replies(&world), asked);
    assert_eq!(stage.begun.lock().len(), 100);
    assert!(world.pushes().await.is_empty());
}
