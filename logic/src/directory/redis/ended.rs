//! Sessions that a link said have ended, which Redis may not know yet.

use std::collections::{HashSet, VecDeque};

use imago_container::PeerId;
use imago_proto::SessionId;

/// How many are remembered; the oldest are forgotten, long after they have left Redis.
const REMEMBERED: usize = 65_536;

/// The sessions that ended last.
#[derive(Debug, Default)]
pub(super) struct Ended {
    order: VecDeque<(PeerId, SessionId)>,
    ended: HashSet<(PeerId, SessionId)>,
}

impl Ended {
    pub(super) fn insert(&mut self, gateway: &PeerId, id: SessionId) {
        let session = (gateway.clone(), id);
        if !self.ended.insert(session.clone()) {
            return;
        }
        self.order.push_back(session);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    /// Forgets a session that is told again: the session it was kicked out for has ended since.
    pub(super) fn remove(&mut self, gateway: &PeerId, id: SessionId) {
        self.ended.remove(&(gateway.clone(), id));
    }

    pub(super) fn contains(&self, gateway: &PeerId, id: SessionId) -> bool {
        !self.ended.is_empty() && self.ended.contains(&(gateway.clone(), id))
    }
}

#[cfg(test)]
mod tests {
    use imago_proto::Incarnation;

    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let gateway = PeerId { service_id: "gate".into(), incarnation: Incarnation(1) };
        let mut ended = Ended::default();
        for id in 0..=REMEMBERED as u64 {
            ended.insert(&gateway, SessionId(id));
        }
        assert!(!ended.contains(&gateway, SessionId(0)));
        assert!(ended.contains(&gateway, SessionId(1)));
        assert_eq!(ended.order.len(), REMEMBERED);
        ended.remove(&gateway, SessionId(7));
        assert!(!ended.contains(&gateway, SessionId(7)));
    }
}
