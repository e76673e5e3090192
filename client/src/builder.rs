//! Configures a client and connects it.

use std::time::Duration;

use imago_proto::msg::LoginReq;

use crate::{AckMode, Client, Error, backoff::Backoff, options::Options, transport::Endpoint};

/// Builds a [`Client`]; see [`Client::builder`].
#[must_use = "nothing happens until `connect` is awaited"]
pub struct Builder {
    urls: Vec<String>,
    pub(crate) options: Options,
}

impl Builder {
    pub(crate) fn new(urls: Vec<String>) -> Self {
        let options = Options {
            gateways: Vec::new(),
            login: LoginReq::default(),
            acks: AckMode::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            talk_deadline: Duration::from_secs(30),
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            queue: 512,
            first: 0,
        };
        Self { urls, options }
    }

    /// Sets the token, which names the account.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.options.login.token = token.into();
        self
    }

    /// Sets which of the account's devices this is, where the token does not say. Each has a session of
    /// its own, as the servers' policy allows. At most 60 characters.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.options.login.device = device.into();
        self
    }

    /// Sets the zone of the client, for selectors that keep traffic local.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.options.login.zone = zone.into();
        self
    }

    /// Sets tags of the session.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.options.login.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Sets who acknowledges messages. Default: the client, when the application asks for the next.
    pub fn acks(mut self, mode: AckMode) -> Self {
        self.options.acks = mode;
        self
    }

    /// Sets how long [`connect`](Self::connect) tries. Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Sets how long one request waits for its answer, before it counts as lost. Default: 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = timeout;
        self
    }

    /// Sets how long an unanswered message, or another request that is repeated, is repeated. Default: 30 s.
    pub fn talk_deadline(mut self, deadline: Duration) -> Self {
        self.options.talk_deadline = deadline;
        self
    }

    /// Sets the pause between pings, and how long an answer may take. Default: 20 s and 10 s.
    pub fn ping(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.ping_interval = interval;
        self.options.pong_timeout = timeout;
        self
    }

    /// Sets the bounds of the pause between two tries to connect. It grows from the one towards the other,
    /// and a random part of it is waited. Default: 200 ms and 10 s.
    pub fn backoff(mut self, least: Duration, most: Duration) -> Self {
        self.options.backoff = Backoff::new(least, most);
        self
    }

    /// Sets the number of messages that wait for the application; further ones stay on the server until it
    /// has caught up. Default: 512, at least 64.
    pub fn queue(mut self, messages: usize) -> Self {
        self.options.queue = messages.max(64);
        self
    }

    /// Connects and logs in.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), imago_client::Error> {
    /// use imago_client::{Client, Error};
    ///
    /// match Client::builder(["ws://127.0.0.1:8000"]).token("a token").connect().await {
    ///     Ok(client) => println!("{} is online", client.session().account),
    ///     Err(Error::LoginRefused { status, .. }) => println!("refused with {status}: get a new token"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Address`] and [`Error::NoGateway`] at once; [`Error::LoginRefused`] for a token
    /// that the servers do not accept; [`Error::Unreachable`] when no gateway accepted the login within the connect
    /// timeout.
    pub async fn connect(mut self) -> Result<Client, Error> {
        self.options.gateways =
            self.urls.iter().map(|url| Endpoint::parse(url)).collect::<Result<_, _>>()?;
        if self.options.gateways.is_empty() {
            return Err(Error::NoGateway);
        }
        // Clients that share a list spread over it.
        self.options.first = rand::random_range(0..self.options.gateways.len());
        Client::connect(self.options).await
    }
}
