//! The directory under events in any order.

use std::collections::{BTreeMap, BTreeSet};

use imago_proto::{Incarnation, Stamp, link};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

mod order;

fn gateway(name: &str, incarnation: u64) -> PeerId {
    PeerId { service_id: name.into(), incarnation: Incarnation(incarnation) }
}

/// A session whose login has this stamp. The wall clock of its gateway tells the opposite.
fn session(gateway: &PeerId, id: u64, account: &str, device: &str, order: u64) -> Session {
    Session::from_link(gateway, &told(gateway, id, account, device, order))
}

fn told(gateway: &PeerId, id: u64, account: &str, device: &str, order: u64) -> link::Session {
    link::Session {
        id,
        channel_id: format!("{}_{account}_{id}", gateway.service_id),
        account: account.to_owned(),
        app: "kim".to_owned(),
        device: device.to_owned(),
        login_time: 1_000_000 - order as i64,
        order,
        ..link::Session::default()
    }
}

fn synced(core: &mut DirectoryCore, gateway: &PeerId) {
    core.sync_begin(gateway);
    core.sync_end(gateway);
}

fn located(core: &DirectoryCore, account: &str) -> Vec<(String, u64)> {
    let sessions = core.locate(&"kim".into(), &account.into());
    let mut located: Vec<_> = sessions
        .iter()
        .map(|session| (session.gateway.service_id.to_string(), session.id.0))
        .collect();
    located.sort();
    located
}

/// Sessions of ann that are left after logins from these devices, one after the other.
fn left(policy: DevicePolicy, devices: &[&str]) -> Vec<String> {
    let gateways = [gateway("a", 1), gateway("b", 1)];
    let mut core = DirectoryCore::new(policy);
    gateways.iter().for_each(|gateway| synced(&mut core, gateway));
    for (number, device) in devices.iter().enumerate() {
        let gateway = &gateways[number % 2];
        core.session_up(session(gateway, number as u64, "ann", device, number as u64));
        core.session_up(session(gateway, 100 + number as u64, "bob", device, 0));
    }
    let mut left = core.locate(&"kim".into(), &"ann".into());
    left.sort_by_key(|session| session.id);
    left.iter().map(|session| format!("{} {}", session.id, session.device())).collect()
}

#[test]
fn the_policy_says_which_devices_stand_in_each_others_way() {
    let devices = ["phone:1", "phone:2", "tablet:1", "phone:1", "tablet:2", ""];
    assert_eq!(
        left(DevicePolicy::Unlimited, &devices),
        ["1 phone:2", "2 tablet:1", "3 phone:1", "4 tablet:2", "5 "]
    );
    assert_eq!(left(DevicePolicy::Class, &devices), ["3 phone:1", "4 tablet:2", "5 "]);
    assert_eq!(left(DevicePolicy::Single, &devices), ["5 "]);
}

#[test]
fn sessions_that_a_stricter_policy_does_not_allow_go_at_the_next_sync() {
    let a = gateway("a", 1);
    let mut core = DirectoryCore::new(DevicePolicy::Single);
    core.sync_begin(&a);
    assert!(core.session_up(session(&a, 2, "ann", "tablet", 2)).is_empty());
    let kicks = core.session_up(session(&a, 1, "ann", "phone", 1));
    core.sync_end(&a);
    let kicked: Vec<_> = kicks.iter().map(|kick| (kick.loser.id.0, kick.winner.id.0)).collect();
    assert_eq!(kicked, [(1, 2)]);
    assert_eq!(located(&core, "ann"), [("a".into(), 2)]);
}

#[test]
fn the_end_of_a_sync_tells_who_is_gone_and_that_the_rest_is_known() {
    let a = gateway("a", 1);
    let mut core = DirectoryCore::default();
    core.sync_begin(&a);
    core.session_up(session(&a, 1, "ann", "", 1));
    assert!(!core.is_told(&a) && core.told().is_empty(), "told before the end");
    assert!(core.sync_end(&a).is_empty());
    assert_eq!((core.is_told(&a), core.told()), (true, vec![a.clone()]));
    core.sync_begin(&a);
    assert!(core.is_told(&a), "a second sync does not unsay the first");
    let gone: Vec<_> = core.sync_end(&a).iter().map(|session| session.id.0).collect();
    assert_eq!(gone, [1]);
    assert_eq!(core.session_down(&a, SessionId(1)), None);
    core.gateway_gone(&a);
    assert!(!core.is_told(&a));
}

#[test]
fn what_is_not_told_again_in_a_sync_is_gone_at_its_end() {
    let a = gateway("a", 1);
    let mut core = DirectoryCore::default();
    synced(&mut core, &a);
    core.session_up(session(&a, 1, "ann", "", 1));
    core.session_up(session(&a, 2, "bob", "", 1));
    core.sync_begin(&a);
    core.session_up(session(&a, 2, "bob", "", 1));
    assert_eq!(located(&core, "ann"), [("a".into(), 1)], "gone before the end of the sync");
    core.session_up(session(&a, 3, "cid", "", 1));
    core.sync_end(&a);
    assert!(located(&core, "ann").is_empty());
    assert_eq!((located(&core, "bob").len(), located(&core, "cid").len()), (1, 1));
}

#[test]
fn a_session_that_ended_during_a_sync_is_not_brought_back_by_it() {
    let a = gateway("a", 1);
    let mut core = DirectoryCore::default();
    core.sync_begin(&a);
    core.session_down(&a, SessionId(1));
    core.session_up(session(&a, 1, "ann", "", 1));
    assert!(located(&core, "ann").is_empty());
    core.sync_end(&a);
    assert!(core.is_empty());
}

#[test]
fn a_gateways_new_life_has_nothing_to_do_with_the_old_one() {
    let (old, new) = (gateway("a", 1), gateway("a", 2));
    let mut core = DirectoryCore::default();
    synced(&mut core, &old);
    core.session_up(session(&old, 1, "ann", "", 1));
    synced(&mut core, &new);
    core.session_up(session(&new, 1, "bob", "", 2));
    core.gateway_gone(&old);
    // A frame of the old life that was still on its way.
    core.session_up(session(&old, 2, "cid", "", 3));
    core.session_down(&old, SessionId(1));
    assert_eq!(located(&core, "bob"), [("a".into(), 1)]);
    assert_eq!(core.len(), 1);
}

#[test]
fn accounts_of_two_apps_are_two() {
    let a = gateway("a", 1);
    let mut core = DirectoryCore::default();
    synced(&mut core, &a);
    core.session_up(session(&a, 1, "ann", "", 1));
    let mut other = session(&a, 2, "ann", "", 2);
    other.app = "other".into();
    assert!(core.session_up(other).is_empty());
    assert_eq!(located(&core, "ann"), [("a".into(), 1)]);
}

#[test]
fn room_is_reserved_for_no_more_sessions_than_the_limit() {
    let a = gateway("a", 1);
    let mut core = DirectoryCore::default();
    core.expect(&a, u64::MAX);
    assert_eq!(core.accounts.capacity(), 0, "this gateway is unknown");
    core.sync_begin(&a);
    for _ in 0..3 {
        core.expect(&a, u64::MAX);
    }
    assert!((EXPECTED_MAX..4 * EXPECTED_MAX).contains(&core.accounts.capacity()));
}

#[test]
fn room_is_made_for_the_sessions_of_all_gateways_that_tell_of_theirs() {
    let mut core = DirectoryCore::default();
    ["a", "b", "c"].iter().for_each(|name| core.sync_begin(&gateway(name, 1)));
    core.expect(&gateway("a", 1), 1000);
    assert!((3000..12_000).contains(&core.accounts.capacity()));
}

/// One event, with small numbers so that they collide.
#[derive(Clone, Debug)]
enum Event {
    Begin(usize),
    Up { gateway: usize, id: u64 },
    Down { gateway: usize, id: u64 },
    End(usize),
    Gone(usize),
}

fn gateways() -> Vec<PeerId> {
    vec![gateway("a", 1), gateway("a", 2), gateway("b", 1)]
}

/// The same number of the same gateway is always the same session.
fn numbered(gateway: &PeerId, id: u64) -> Session {
    let seed = id * 7 + gateway.incarnation.0 * 3 + gateway.service_id.as_str().len() as u64;
    let devices = ["", "phone:1", "phone:2", "tablet"];
    let (account, device) = (["ann", "bob"][id as usize % 2], devices[id as usize / 2 % 4]);
    let mut told = told(gateway, id, account, device, seed % 4);
    // A session of its account, of any scope; one that names a later one would be of a client whose
    // login was told apart by clocks.
    let named = format!("{}_{account}_{}", gateway.service_id, id.saturating_sub(2));
    if seed % 4 == 3 && told.channel_id > named {
        told.replaces = named;
    }
    Session::from_link(gateway, &told)
}

fn event() -> impl Strategy<Value = Event> {
    let (gateway, id) = (0..3_usize, 1..9_u64);
    prop_oneof![
        1 => gateway.clone().prop_map(Event::Begin),
        8 => (gateway.clone(), id.clone()).prop_map(|(gateway, id)| Event::Up { gateway, id }),
        4 => (gateway.clone(), id).prop_map(|(gateway, id)| Event::Down { gateway, id }),
        1 => gateway.clone().prop_map(Event::End),
        1 => gateway.prop_map(Event::Gone),
    ]
}

fn policy() -> impl Strategy<Value = DevicePolicy> {
    prop_oneof![
        Just(DevicePolicy::Unlimited),
        Just(DevicePolicy::Class),
        Just(DevicePolicy::Single)
    ]
}

/// What each gateway has said, told the simplest way.
#[derive(Default)]
struct Model {
    alive: BTreeSet<(PeerId, u64)>,
    syncs: BTreeMap<PeerId, (BTreeSet<u64>, BTreeSet<u64>)>,
    known: BTreeSet<PeerId>,
}

impl Model {
    fn on(&mut self, event: &Event) {
        let gateways = gateways();
        match event {
            Event::Begin(gateway) => {
                self.known.insert(gateways[*gateway].clone());
                self.syncs.insert(gateways[*gateway].clone(), Default::default());
            }
            Event::Up { gateway, id } => {
                let peer = &gateways[*gateway];
                let ended = self.syncs.get(peer).is_some_and(|(_, ended)| ended.contains(id));
                if !self.known.contains(peer) || ended {
                    return;
                }
                if let Some((seen, _)) = self.syncs.get_mut(peer) {
                    seen.insert(*id);
                }
                self.alive.insert((peer.clone(), *id));
            }
            Event::Down { gateway, id } => {
                let peer = &gateways[*gateway];
                if let Some((_, ended)) = self.syncs.get_mut(peer) {
                    ended.insert(*id);
                }
                self.alive.remove(&(peer.clone(), *id));
            }
            Event::End(gateway) => {
                let peer = &gateways[*gateway];
                if let Some((seen, _)) = self.syncs.remove(peer) {
                    self.alive.retain(|(other, id)| other != peer || seen.contains(id));
                }
            }
            Event::Gone(gateway) => {
                let peer = &gateways[*gateway];
                self.known.remove(peer);
                self.syncs.remove(peer);
                self.alive.retain(|(other, _)| other != peer);
            }
        }
    }
}

fn apply(core: &mut DirectoryCore, event: &Event) -> Vec<Kick> {
    let gateways = gateways();
    match event {
        Event::Begin(gateway) => {
            core.sync_begin(&gateways[*gateway]);
            core.expect(&gateways[*gateway], 3);
        }
        Event::Up { gateway, id } => return core.session_up(numbered(&gateways[*gateway], *id)),
        Event::Down { gateway, id } => {
            core.session_down(&gateways[*gateway], SessionId(*id));
        }
        Event::End(gateway) => {
            core.sync_end(&gateways[*gateway]);
        }
        Event::Gone(gateway) => core.gateway_gone(&gateways[*gateway]),
    }
    Vec::new()
}

fn held(core: &DirectoryCore) -> BTreeSet<(PeerId, u64)> {
    let sessions = gateways().into_iter().flat_map(|gateway| core.sessions_of(&gateway));
    sessions.map(|session| (session.gateway.clone(), session.id.0)).collect()
}

type Rank = (Stamp, String);

proptest! {
    #[test]
    fn it_holds_who_is_alive_and_was_not_kicked(
        policy in policy(),
        events in vec(event(), 0..120),
    ) {
        let (mut core, mut model) = (DirectoryCore::new(policy), Model::default());
        let mut kicked = BTreeSet::new();
        for event in &events {
            if let Event::Up { gateway, id } = event {
                // Told to live again: whether it stays is decided anew.
                kicked.remove(&(gateways()[*gateway].clone(), *id));
            }
            let kicks = apply(&mut core, event);
            model.on(event);
            for kick in &kicks {
                let rank = |session: &Session| (session.order, session.channel().to_owned());
                prop_assert!(rank(&kick.loser) < rank(&kick.winner));
                kicked.insert((kick.loser.gateway.clone(), kick.loser.id.0));
            }
            kicked.retain(|who| model.alive.contains(who));
            let expected: BTreeSet<_> = model.alive.difference(&kicked).cloned().collect();
            prop_assert_eq!(&held(&core), &expected);

            // Accounts and gateways tell the same, and in one place there is one session.
            let located: Vec<_> = ["ann", "bob"]
                .iter()
                .flat_map(|account| core.locate(&"kim".into(), &(*account).into()))
                .collect();
            prop_assert_eq!(located.len(), core.len());
            let scope = |found: &Session| policy.scope(found.device()).to_owned();
            let places: BTreeSet<_> =
                located.iter().map(|found| (found.account.clone(), scope(found))).collect();
            prop_assert_eq!(places.len(), located.len());
            for found in &located {
                let by_number = core.session(&found.gateway, found.id);
                prop_assert!(by_number.is_some_and(|by_number| Arc::ptr_eq(&by_number, found)));
            }
        }
    }

    #[test]
    fn the_same_session_wins_everywhere(
        policy in policy(),
        ups in vec((0..3_usize, 1..9_u64), 1..40),
        swaps in vec((any::<Index>(), any::<Index>()), 0..40),
    ) {
        let mut shuffled = ups.clone();
        for (one, other) in &swaps {
            shuffled.swap(one.index(ups.len()), other.index(ups.len()));
        }
        let run = |ups: &[(usize, u64)]| {
            let mut core = DirectoryCore::new(policy);
            gateways().iter().for_each(|gateway| synced(&mut core, gateway));
            for (gateway, id) in ups {
                core.session_up(numbered(&gateways()[*gateway], *id));
            }
            held(&core)
        };
        let mut best: BTreeMap<(Account, String), (Rank, (PeerId, u64))> = BTreeMap::new();
        for (gateway, id) in &ups {
            let session = numbered(&gateways()[*gateway], *id);
            let place = (session.gateway.clone(), *id);
            let rank = (session.order, session.channel().to_owned());
            let device = (session.account.clone(), policy.scope(session.device()).to_owned());
            let entry = best.entry(device).or_insert((rank.clone(), place.clone()));
            if rank > entry.0 {
                *entry = (rank, place);
            }
        }
        let expected: BTreeSet<_> = best.into_values().map(|(_, place)| place).collect();
        prop_assert_eq!(run(&ups), expected.clone());
        prop_assert_eq!(run(&shuffled), expected);
    }
}
