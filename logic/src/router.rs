//! The handlers of commands, and the layers around them.

use std::{collections::HashMap, future::Future, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use imago_proto::Status;
use prost::Message;

use crate::{Context, layer::Layer};

/// Why a request is refused: the status on the wire, and a text for developers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Reject {
    /// Status of the response.
    pub status: Status,
    /// Text of its `ErrorResp`, without internals and secrets.
    pub message: String,
    /// A body to send instead of an `ErrorResp`.
    pub body: Option<Bytes>,
}

impl Reject {
    /// Creates a refusal with this status.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), body: None }
    }

    /// Creates the refusal of an unusable body or field (101).
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidPacketBody, message)
    }

    /// Creates the refusal after a failure of the server (300). The caller may retry.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Status::SystemException, message)
    }

    /// Sends this body in place of an `ErrorResp`.
    #[must_use]
    pub fn with_body(mut self, body: &impl Message) -> Self {
        self.body = Some(body.encode_to_vec().into());
        self
    }
}

/// Answers requests whose bodies are still bytes; what layers wrap.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, ctx: Context, body: Bytes) -> BoxFuture<'static, Result<Bytes, Reject>>;

    /// Returns whether the session's next request may begin while this one waits, if the next one's handler
    /// overlaps, too. An overlapping handler does everything that depends on the order of the requests before
    /// it first waits. Answers and pushes keep the order in any case.
    fn overlaps(&self) -> bool {
        false
    }
}

/// Commands and their handlers. Layers wrap every handler; the first one is outermost.
#[derive(Default)]
pub struct Router {
    layers: Vec<Arc<dyn Layer>>,
    handlers: HashMap<String, Arc<dyn Handler>>,
}

impl Router {
    /// Creates a router without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wraps all handlers, including those that are added later.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Answers `command` with an async function of [`Context`] and the decoded body. A later
    /// handler of the same command replaces the earlier one.
    #[must_use]
    pub fn handle<F, Fut, Req, Resp>(self, command: &str, handler: F) -> Self
    where
        F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, Reject>> + Send + 'static,
        Req: Message + Default + Send + 'static,
        Resp: Message + 'static,
    {
        self.insert(command, handler, Order::OneByOne)
    }

    /// As [`handle`](Self::handle), for a handler that [overlaps](Handler::overlaps): requests of one session
    /// then share a commit of the message store.
    #[must_use]
    pub fn handle_overlapping<F, Fut, Req, Resp>(self, command: &str, handler: F) -> Self
    where
        F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, Reject>> + Send + 'static,
        Req: Message + Default + Send + 'static,
        Resp: Message + 'static,
    {
        self.insert(command, handler, Order::Overlapping)
    }

    fn insert<F, Fut, Req, Resp>(mut self, command: &str, handler: F, order: Order) -> Self
    where
        F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, Reject>> + Send + 'static,
        Req: Message + Default + Send + 'static,
        Resp: Message + 'static,
    {
        let types = PhantomData::<fn(Req) -> Resp>;
        let typed = Typed { handler: Arc::new(handler), order, types };
        self.handlers.insert(command.to_owned(), Arc::new(typed));
        self
    }

    /// Builds the routes: all handlers within all layers.
    pub(crate) fn build(self) -> Routes {
        let wrap = |(command, mut handler): (String, Arc<dyn Handler>)| {
            for layer in self.layers.iter().rev() {
                handler = layer.wrap(&command, handler);
            }
            (command, handler)
        };
        Routes { handlers: self.handlers.into_iter().map(wrap).collect() }
    }
}

/// A finished [`Router`].
pub(crate) struct Routes {
    handlers: HashMap<String, Arc<dyn Handler>>,
}

impl Routes {
    pub(crate) fn answer(
        &self,
        ctx: Context,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Reject>> + Send + use<> {
        let handler = self.handlers.get(ctx.command()).cloned();
        async move {
            match handler {
                Some(handler) => handler.call(ctx, body).await,
                None => Err(Reject::new(Status::NotImplemented, "unknown command")),
            }
        }
    }

    /// See [`Handler::overlaps`].
    pub(crate) fn overlaps(&self, command: &str) -> bool {
        self.handlers.get(command).is_some_and(|handler| handler.overlaps())
    }
}

/// Whether requests of one session overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    OneByOne,
    Overlapping,
}

/// A handler with its types.
struct Typed<F, Req, Resp> {
    handler: Arc<F>,
    order: Order,
    types: PhantomData<fn(Req) -> Resp>,
}

impl<F, Fut, Req, Resp> Handler for Typed<F, Req, Resp>
where
    F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, Reject>> + Send + 'static,
    Req: Message + Default + Send + 'static,
    Resp: Message + 'static,
{
    fn call(&self, ctx: Context, body: Bytes) -> BoxFuture<'static, Result<Bytes, Reject>> {
        let handler = self.handler.clone();
        Box::pin(async move {
            let request = Req::decode(body)
                .map_err(|error| Reject::invalid(format!("body does not decode: {error}")))?;
            Ok(handler(ctx, request).await?.encode_to_vec().into())
        })
    }

    fn overlaps(&self) -> bool {
        self.order == Order::Overlapping
    }
}
