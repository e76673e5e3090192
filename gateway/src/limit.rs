//! Who may connect, and how fast a client may send: the traits, and their defaults.

use std::{num::NonZeroU32, sync::Arc};

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::transport::Address;

/// Looks at a connection before anything is read from it.
#[async_trait]
pub trait Acceptor: Send + Sync + 'static {
    /// Checks whether the connection from `remote` may go on.
    ///
    /// # Errors
    /// With the reason, for the log, when the connection is to be closed at once.
    async fn accept(&self, remote: &Address) -> Result<(), String>;
}

/// Accepts every connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptAll;

#[async_trait]
impl Acceptor for AcceptAll {
    async fn accept(&self, _: &Address) -> Result<(), String> {
        Ok(())
    }
}

/// Limits how fast clients send requests.
pub trait RateLimit: Send + Sync + 'static {
    /// The limit of a new connection.
    fn connection(&self) -> Box<dyn ConnectionRate>;
}

/// Limits how fast one client sends requests.
pub trait ConnectionRate: Send + Sync {
    /// Whether a request may be forwarded now; otherwise it is answered 300.
    fn admit(&self) -> bool;
}

/// Token buckets: one for each connection, and one for all of them.
pub struct TokenBuckets {
    per_connection: Quota,
    global: Option<Arc<DefaultDirectRateLimiter>>,
}

impl TokenBuckets {
    /// Messages a second and in a burst for each connection; messages a second for all together
    /// (`None`: no limit).
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32, global: Option<NonZeroU32>) -> Self {
        let global = global.map(|rate| Arc::new(RateLimiter::direct(Quota::per_second(rate))));
        Self { per_connection: Quota::per_second(per_second).allow_burst(burst), global }
    }
}

impl RateLimit for TokenBuckets {
    fn connection(&self) -> Box<dyn ConnectionRate> {
        let own = RateLimiter::direct(self.per_connection);
        Box::new(Buckets { own, global: self.global.clone() })
    }
}

struct Buckets {
    own: DefaultDirectRateLimiter,
    global: Option<Arc<DefaultDirectRateLimiter>>,
}

impl ConnectionRate for Buckets {
    fn admit(&self) -> bool {
        self.own.check().is_ok() && self.global.as_ref().is_none_or(|all| all.check().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn admitted(connection: &dyn ConnectionRate, tries: usize) -> usize {
        (0..tries).filter(|_| connection.admit()).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let connection = TokenBuckets::new(rate(1), rate(5), None).connection();
        assert_eq!(admitted(&*connection, 50), 5);
    }

    #[test]
    fn all_connections_share_the_global_rate() {
        let buckets = TokenBuckets::new(rate(100), rate(100), Some(rate(3)));
        let (first, second) = (buckets.connection(), buckets.connection());
        assert_eq!(admitted(&*first, 2) + admitted(&*second, 50), 3);
    }
}
