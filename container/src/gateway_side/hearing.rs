//! What a gateway asks its logic servers before it relies on what it knew of them: for the stamp of a
//! login, and after it stood still.

use std::time::{Duration, Instant};

use futures::future::join_all;
use imago_proto::{Stamp, link::ServerState};
use tokio::time::timeout;

use super::links::Links;
use crate::{link::FrameSink, metrics};

/// How long a login waits for the logic servers to say what they have heard of: far longer than an
/// answer takes, and short for a client when one of them is stuck.
const HEAR_PATIENCE: Duration = Duration::from_millis(250);

impl Links {
    /// This process runs at `now`. Where it stood still before for longer than links live without a
    /// word, they take requests again once their peers are heard of, and what is under way gets the
    /// time anew.
    pub(crate) fn beat(&self, now: Instant) {
        let Some(still) = self.trust.beat(now) else { return };
        metrics::stood_still();
        tracing::warn!(?still, "this process stood still: asking its peers whether they are there");
        for link in self.all() {
            link.doubt(self.stamp());
        }
        self.forwarder.stood_still(still);
    }

    /// How long this process stood still, where it has heard of no logic server since.
    pub(crate) fn unconfirmed(&self) -> Option<Duration> {
        self.trust.unconfirmed()
    }

    /// Waits until each logic server that is linked now has taken in what it was sent before: until it
    /// answers a ping of now, or its link is over.
    pub(crate) async fn taken_in(&self) {
        let links = self.all();
        join_all(links.iter().map(|link| link.hear(|| self.stamp()))).await;
    }

    /// The stamp of a login that has just come. It is after those of all earlier logins that the
    /// logic servers have been told of, whatever the wall clocks of gateways say: each server tells its
    /// own stamp with the answer to a ping, and is asked anew for each login.
    ///
    /// A login has been answered only by a logic server that was told of it first. So of two logins
    /// of which the second began when the first was answered, the second has the higher stamp, where
    /// the server that answered the first is linked here and answers in time. What remains is told
    /// apart by clocks: a second login that comes before the first was answered, and one that comes
    /// when the only servers that were told of the first have died, or do not answer within
    /// [`HEAR_PATIENCE`]. Then the gateway of the first must be ahead by more than the time between
    /// the two for the second to lose. A client that names the session it replaces loses never.
    pub(crate) async fn login_stamp(&self) -> Stamp {
        // One that is Young has answered no login.
        let links: Vec<_> =
            self.all().into_iter().filter(|link| link.state() != ServerState::Young).collect();
        let heard = join_all(links.iter().map(|link| link.hear(|| self.stamp())));
        if timeout(HEAR_PATIENCE, heard).await.is_err() {
            tracing::debug!(waited = ?HEAR_PATIENCE, "not all logic servers have told their stamps");
        }
        self.stamp()
    }
}
