//! Layers, which wrap handlers.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use crate::{Context, Handler, Reject, metrics};

/// Wraps a handler into another one.
pub trait Layer: Send + Sync + 'static {
    /// Returns the handler that answers `command` in place of `next`. A handler that calls `next` before it
    /// first waits forwards whether `next` [overlaps](Handler::overlaps): otherwise each request of a session
    /// waits for the commit of the one before.
    fn wrap(&self, command: &str, next: Arc<dyn Handler>) -> Arc<dyn Handler>;
}

/// Answers 300 where a handler panics. Other requests are not affected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recover;

impl Layer for Recover {
    fn wrap(&self, _: &str, next: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Recovering(next))
    }
}

struct Recovering(Arc<dyn Handler>);

impl Handler for Recovering {
    fn call(&self, ctx: Context, body: Bytes) -> BoxFuture<'static, Result<Bytes, Reject>> {
        let next = self.0.clone();
        Box::pin(async move {
            // The call itself is inside, in case the handler panics before its first await.
            let call = ctx.clone();
            let answer = AssertUnwindSafe(async move { next.call(call, body).await });
            answer.catch_unwind().await.unwrap_or_else(|_| {
                metrics::handler_panic();
                tracing::error!(
                    command = ctx.command(),
                    "handler panicked; its request is answered with 300"
                );
                Err(Reject::failed("the server failed on this request"))
            })
        })
    }

    fn overlaps(&self) -> bool {
        self.0.overlaps()
    }
}

/// Measures how long each command takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing;

impl Layer for Timing {
    fn wrap(&self, command: &str, next: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Timed { next, timer: metrics::handler_timer(command) })
    }
}

struct Timed {
    next: Arc<dyn Handler>,
    timer: imago_kit::HistogramHandle,
}

impl Handler for Timed {
    fn call(&self, ctx: Context, body: Bytes) -> BoxFuture<'static, Result<Bytes, Reject>> {
        let (next, timer) = (self.next.clone(), self.timer.clone());
        Box::pin(async move {
            let started = Instant::now();
            let answer = next.call(ctx, body).await;
            timer.record(started.elapsed().as_secs_f64());
            answer
        })
    }

    fn overlaps(&self) -> bool {
        self.next.overlaps()
    }
}
