//! What a gateway's connections ask of the container.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use imago_proto::{
    Incarnation, ServiceId, SessionId, Stamp,
    link::{Missing, Session, SessionDown, SessionUp, frame::Kind},
};

use super::links::Links;
use crate::{Lane, LaneOwner, PeerId, Route};
use imago_kit::unix_nanos;

/// How long a session change may wait for room before the link counts as stuck.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// The gateway's links, for its connections. Cheap to clone.
#[derive(Clone)]
pub struct GatewayHandle {
    pub(super) own: PeerId,
    pub(super) links: Arc<Links>,
}

impl GatewayHandle {
    /// Id of this gateway.
    pub fn service_id(&self) -> &ServiceId {
        &self.own.service_id
    }

    /// Which life of this gateway.
    pub fn incarnation(&self) -> Incarnation {
        self.own.incarnation
    }

    /// The stamp of a login that has just come: after those of the logins that the linked logic servers
    /// know of. Waits for their answers, at most a quarter of a second.
    pub async fn login_stamp(&self) -> Stamp {
        self.links.login_stamp().await
    }

    /// Tells every linked logic server of a session, and each that is linked from now on until
    /// [`session_down`](Self::session_down). Its age is told as it is then. Has room where requests have
    /// none, so that no stuck server keeps logins waiting; waits only when that is taken too, at
    /// most 5 s: a link without any is closed, and synced again when it is back.
    pub async fn session_up(&self, session: &Session) {
        // First the roster, then the links: of one that comes up meanwhile, one knows the other.
        let session = Session { age: 0, ..session.clone() };
        self.links.roster.add(&session);
        // Never none: that would say that it is not told.
        let age = unix_nanos().saturating_sub(session.login_time).max(1);
        let session = Some(Session { age, ..session });
        self.tell_all(Kind::SessionUp(SessionUp { session })).await;
    }

    /// Waits until each logic server that is linked now knows the sessions that it was told of before,
    /// or its link is over. Without a time limit: a server that stands still answers when it goes on.
    pub async fn taken_in(&self) {
        self.links.taken_in().await;
    }

    /// Tells every linked logic server that a session is over. Waits as
    /// [`session_up`](Self::session_up) does.
    pub async fn session_down(&self, id: SessionId) {
        self.links.roster.remove(id);
        self.tell_all(Kind::SessionDown(SessionDown { session: id.0 })).await;
    }

    async fn tell_all(&self, kind: Kind) {
        let links = self.links.all();
        // A link that takes nothing is closed, and synced anew.
        join_all(links.iter().map(|link| link.send_urgent(kind.clone(), CHANGE_PATIENCE))).await;
    }

    /// The way of a session's requests to the logic servers, in order, for as long as the lane
    /// is kept.
    pub fn open_lane(&self, session: SessionId, route: Route, owner: Arc<dyn LaneOwner>) -> Lane {
        self.links.forwarder.open_lane(session, route, owner)
    }

    /// Asks a logic server to push what these sessions miss. False where none can be asked now.
    pub fn redeliver(&self, missing: Vec<Missing>) -> bool {
        self.links.forwarder.redeliver(missing)
    }

    /// Whether any logic server takes requests.
    pub fn has_adult(&self) -> bool {
        self.links.forwarder.has_usable()
    }
}
