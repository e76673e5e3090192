//! Whether a logic server that has grown up can do its work.

use imago_proto::link::ServerState;

/// Fitness of a logic server that has grown up. A fit one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// It cannot use its message store. It gets requests only where no fit server is linked.
    Unfit,
    /// It can.
    #[default]
    Fit,
}

impl Fitness {
    /// The fitness that a state tells; `None` for a server that takes no requests at all.
    pub fn of(state: ServerState) -> Option<Self> {
        match state {
            ServerState::Adult => Some(Self::Fit),
            ServerState::Unfit => Some(Self::Unfit),
            ServerState::Young | ServerState::Leaving => None,
        }
    }

    /// The state that tells gateways of it.
    pub fn state(self) -> ServerState {
        match self {
            Self::Fit => ServerState::Adult,
            Self::Unfit => ServerState::Unfit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_tells_the_fitness_of_grown_up_servers_alone() {
        for fitness in [Fitness::Fit, Fitness::Unfit] {
            assert_eq!(Fitness::of(fitness.state()), Some(fitness));
        }
        for state in [ServerState::Young, ServerState::Leaving] {
            assert_eq!(Fitness::of(state), None);
        }
        assert!(Fitness::Fit > Fitness::Unfit);
    }
}
