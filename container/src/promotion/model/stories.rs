//! Stories that the random steps tell too seldom: a gateway whose snapshot is older than a
//! promotion opens without the promoted server, and makes up for it when it reads on.

use super::*;
use crate::promotion::{GatewayPhase, LogicPhase};

impl World {
    /// A gateway that has read of two young servers, and reads no further by itself.
    fn with_two_young_servers() -> Self {
        let mut world = Self::new();
        world.start_gateway(0);
        world.start_logic(0);
        world.start_logic(1);
        for number in 0..2 {
            // Registered, and visible.
            world.advance_logic(number);
            world.advance_logic(number);
        }
        world.gateway_reads_on();
        world
    }

    fn gateway_reads_on(&mut self) {
        while self.gateways[0].as_ref().is_some_and(|gateway| !gateway.pending.is_empty()) {
            self.advance_gateway(0);
        }
    }

    fn logic_goes_on(&mut self, number: usize) {
        while self.logics[number].as_ref().is_some_and(|logic| !logic.pending.is_empty()) {
            self.advance_logic(number);
        }
    }

    fn link_and_sync(&mut self, logic: usize) {
        self.link(0, logic);
        self.deliver(0, logic);
    }

    /// All that a server has said arrives.
    fn hear(&mut self, logic: usize) {
        while self.link_between(0, logic).is_some_and(|link| !link.states.is_empty()) {
            self.deliver(0, logic);
        }
    }

    fn gateway(&self) -> &GatewayCore {
        &self.gateways[0].as_ref().expect("it was started").core
    }

    fn grown_up(&self, logic: usize) -> bool {
        self.logics[logic].as_ref().is_some_and(|logic| logic.core.phase() == LogicPhase::Adult)
    }
}

#[test]
fn a_gateway_that_opens_before_it_reads_that_it_was_left_out_fences_itself_when_it_does() {
    let mut world = World::with_two_young_servers();
    world.link_and_sync(1);
    world.logic_goes_on(0);
    world.exclude(0);
    world.logic_goes_on(0);
    assert!(world.grown_up(0), "an operator said not to wait");

    world.logic_goes_on(1);
    world.hear(1);
    assert_eq!(world.gateway().phase(), GatewayPhase::Adult, "it cannot know of the first server");
    world.gateway_reads_on();
    assert_eq!(world.gateway().phase(), GatewayPhase::Fenced);
    world.link_and_sync(0);
    assert_eq!(world.gateway().phase(), GatewayPhase::Adult);
    world.settle();
}

#[test]
fn a_gateway_that_lost_a_server_before_it_heard_of_its_promotion_is_degraded_when_it_reads_of_it() {
    let mut world = World::with_two_young_servers();
    world.link_and_sync(0);
    world.link_and_sync(1);
    world.logic_goes_on(0);
    assert!(world.grown_up(0), "with a link");
    world.cut(0, 0);

    world.logic_goes_on(1);
    world.hear(1);
    assert_eq!(world.gateway().phase(), GatewayPhase::Adult, "it had the link at the promotion");
    assert!(world.gateway().waiting_for().is_empty());
    world.gateway_reads_on();
    assert!(world.gateway().waiting_for().contains_key(&name("logic", 0)));
    world.settle();
}

#[test]
fn a_gateway_that_heard_of_a_promotion_does_not_open_without_that_server() {
    let mut world = World::with_two_young_servers();
    world.start_logic(2);
    world.logic_goes_on(2);
    world.gateway_reads_on();
    world.link_and_sync(0);
    world.link_and_sync(1);
    world.link_and_sync(2);
    // The flag of the third is up, so it is waited for when its link is lost.
    world.logic_goes_on(2);
    world.gateway_reads_on();
    world.cut(0, 2);
    world.logic_goes_on(0);
    world.hear(0);
    world.cut(0, 0);

    world.logic_goes_on(1);
    world.hear(1);
    world.link_and_sync(2);
    world.hear(2);
    assert_eq!(world.gateway().phase(), GatewayPhase::Young);
    world.link_and_sync(0);
    assert_eq!(world.gateway().phase(), GatewayPhase::Adult);
    world.settle();
}
