//! The running requests of one session. They begin, and are answered, in their order.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use imago_kit::in_log_context;
use tokio::time::timeout;

use super::queues::Job;
use crate::{Context, Reject, context::Services, handlers, metrics, router::Routes, store::Chains};

/// Requests of one session that run at the same time, if their handlers overlap.
const OVERLAPPING_MAX: usize = 64;

/// How long a handler runs before a loss of the store it needs ends it.
const PROMPT: Duration = Duration::from_millis(250);

/// A handled request whose answer is not sent yet.
pub(super) struct Handled {
    pub(super) ctx: Context,
    pub(super) answer: Result<Bytes, Reject>,
}

struct Request {
    overlaps: bool,
    state: State,
}

enum State {
    Begun(BoxFuture<'static, Handled>),
    Handled(Handled),
}

/// The running requests of one session.
#[derive(Default)]
pub(super) struct Running {
    requests: VecDeque<Request>,
    chains: Chains,
}

// === impl Running ===

impl Running {
    /// Returns whether a request may begin: no other is running, or it overlaps with all that are.
    pub(super) fn takes(&self, overlaps: bool) -> bool {
        let mut requests = self.requests.iter();
        self.requests.len() < OVERLAPPING_MAX
            && (self.requests.is_empty() || (overlaps && requests.all(|it| it.overlaps)))
    }

    /// Begins a request. When this returns, its handler has first waited, or is done.
    pub(super) fn begin(
        &mut self,
        job: Job,
        routes: &Routes,
        services: &std::sync::Arc<Services>,
        limit: Duration,
        cx: &mut TaskContext<'_>,
    ) {
        if self.requests.is_empty() {
            self.chains.clear();
        }
        let Job { session, request, body } = job;
        let overlaps = routes.overlaps(&request.command);
        let chain = self.chains.of(&request.command, &request.dest);
        let ctx = Context::new(session, request, chain, services.clone());
        let handling = handle(routes.answer(ctx.clone(), body), ctx.clone(), limit);
        let handling = in_log_context(ctx.log_context(), handling).boxed();
        let mut request = Request { overlaps, state: State::Begun(handling) };
        request.poll(cx);
        self.requests.push_back(request);
    }

    /// Polls for the oldest request, once it is handled. Without requests, it stays pending.
    pub(super) fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Handled> {
        for request in &mut self.requests {
            request.poll(cx);
        }
        let is_handled = |first: &mut Request| matches!(first.state, State::Handled(_));
        match self.requests.pop_front_if(is_handled) {
            Some(Request { state: State::Handled(handled), .. }) => Poll::Ready(handled),
            _ => Poll::Pending,
        }
    }

    /// Returns the number of running requests.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

impl Request {
    fn poll(&mut self, cx: &mut TaskContext<'_>) {
        if let State::Begun(handling) = &mut self.state
            && let Poll::Ready(handled) = Pin::new(handling).poll(cx)
        {
            self.state = State::Handled(handled);
        }
    }
}

/// Handles a request within a time limit.
async fn handle(
    handler: impl Future<Output = Result<Bytes, Reject>>,
    ctx: Context,
    limit: Duration,
) -> Handled {
    let answer = answer(handler, &ctx, limit).await;
    tracing::trace!(ok = answer.is_ok(), "answered");
    Handled { ctx, answer }
}

/// Returns the handler's answer, or a refusal.
async fn answer(
    handler: impl Future<Output = Result<Bytes, Reject>>,
    ctx: &Context,
    limit: Duration,
) -> Result<Bytes, Reject> {
    let (store, need) = (ctx.store_state(), handlers::store_need(ctx.request()));
    if store.lacks(need) {
        ctx.chain().break_off();
        return Err(handlers::store_lacks(need, store));
    }
    // A panic must not end the session's worker, with any layers.
    let mut handled = pin!(AssertUnwindSafe(handler).catch_unwind());
    let failed = |_| Err(Reject::failed("the server failed on this request"));
    let prompt = limit.min(PROMPT);
    if let Ok(answer) = timeout(prompt, &mut handled).await {
        return answer.unwrap_or_else(failed);
    }
    tokio::select! {
        late = timeout(limit - prompt, &mut handled) => match late {
            Ok(answer) => answer.unwrap_or_else(failed),
            Err(_) => {
                metrics::handler_timeout();
                tracing::warn!("handler took too long; its request is answered with 300");
                Err(Reject::failed("the server took too long, try again later"))
            }
        },
        () = store.lost(need) => Err(handlers::store_lacks(need, store)),
    }
}
