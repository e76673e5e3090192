//! The rule, told as stories, and played with two lives in every order.

use proptest::prelude::*;

use super::*;

fn claim(generation: u64, incarnation: u64) -> Claim {
    Claim { generation, incarnation: Incarnation(incarnation) }
}

fn rival(generation: u64, incarnation: u64) -> Rival {
    let claim = claim(generation, incarnation);
    Rival { claim, address: "host:1".into(), health_url: None, is_leaving: false }
}

fn listed(has_own: bool, rivals: &[Rival]) -> Listed {
    Listed { has_own, rivals: rivals.to_vec() }
}

fn life(incarnation: u64, dead: &[Rival]) -> ClaimCore {
    ClaimCore::new(Incarnation(incarnation), dead)
}

#[test]
fn a_life_alone_stays() {
    let (mut core, now) = (life(5, &[]), Instant::now());
    assert_eq!(core.generation(), 1);
    for has_own in [false, true, false] {
        assert_eq!(core.see(&listed(has_own, &[]), now), Step::Stay);
    }
}

#[test]
fn a_successor_outranks_the_dead_whose_entry_still_stands() {
    let (dead, now) = (rival(7, 1), Instant::now());
    let mut core = life(9, std::slice::from_ref(&dead));
    assert_eq!(core.generation(), 8);
    // Until its own entry is shown, and beside it (two agents).
    assert_eq!(core.see(&listed(false, std::slice::from_ref(&dead)), now), Step::Stay);
    assert_eq!(core.see(&listed(true, std::slice::from_ref(&dead)), now), Step::Stay);
    // Written over it by a process that does not know that it was replaced.
    let written_over = listed(false, std::slice::from_ref(&dead));
    assert_eq!(core.see(&written_over, now), Step::Write(dead));
    assert_eq!(core.generation(), 8);
}

#[test]
fn an_entry_of_the_dead_that_shows_up_late_ends_nobody() {
    let (ghost, now) = (rival(3, 1), Instant::now());
    let mut core = life(9, &[]);
    assert_eq!(
        core.see(&listed(true, std::slice::from_ref(&ghost)), now),
        Step::Write(ghost.clone())
    );
    assert_eq!(core.generation(), 4);
    assert_eq!(core.see(&listed(true, &[ghost]), now), Step::Stay);
}

#[test]
fn a_life_that_works_takes_its_id_back_and_the_newcomer_ends() {
    let now = Instant::now();
    let mut first = life(9, &[]);
    assert_eq!(first.see(&listed(true, &[]), now), Step::Stay);
    // It could not ask the first one, and took it for dead.
    let mut second = life(5, &[rival(1, 9)]);
    assert_eq!(second.see(&listed(true, &[]), now), Step::Stay);
    let newcomer = rival(2, 5);
    assert_eq!(
        first.see(&listed(false, std::slice::from_ref(&newcomer)), now),
        Step::Write(newcomer)
    );
    let back = rival(3, 9);
    assert_eq!(second.see(&listed(false, std::slice::from_ref(&back)), now), Step::End(back));
}

#[test]
fn a_life_that_was_cut_off_gives_way_to_one_that_took_over_meanwhile() {
    let now = Instant::now();
    let soon = now + Duration::from_secs(1);
    for (has_own, newcomer) in [(false, rival(2, 5)), (true, rival(2, 5)), (false, rival(1, 99))] {
        let mut frozen = life(9, &[rival(0, 4)]);
        let own = frozen.generation();
        frozen.see(&listed(true, &[rival(0, 4)]), now);
        frozen.cut_off(now);
        // One that it knows from before has nothing to do with it.
        assert_eq!(frozen.see(&listed(true, &[rival(0, 4)]), soon), Step::Stay);
        let step = frozen.see(&listed(has_own, &[rival(0, 4), newcomer.clone()]), soon);
        assert_eq!(step, Step::End(newcomer));
        assert_eq!(frozen.generation(), own);
    }
    // A twin that started at the same time, and stood still with it: one of the two stays.
    let (mut one, mut other) = (life(5, &[]), life(9, &[]));
    one.cut_off(now);
    other.cut_off(now);
    assert_eq!(one.see(&listed(true, &[rival(1, 9)]), soon), Step::Stay);
    assert_eq!(other.see(&listed(true, &[rival(1, 5)]), soon), Step::End(rival(1, 5)));
}

#[test]
fn a_doubt_ends() {
    let now = Instant::now();
    let mut core = life(9, &[]);
    core.cut_off(now);
    let newcomer = rival(2, 5);
    let step = core.see(&listed(false, std::slice::from_ref(&newcomer)), now + DOUBT);
    assert_eq!(step, Step::Write(newcomer));
}

#[test]
fn a_refused_link_ends_only_a_life_that_was_cut_off_and_may_be_replaced() {
    let now = Instant::now();
    let mut core = life(9, &[rival(1, 4)]);
    assert!(!core.refused(&refusal(5, true), now), "it works: the registry decides");
    core.cut_off(now);
    assert!(core.refused(&refusal(5, true), now));
    assert!(!core.refused(&refusal(4, true), now), "it took over from that one");
}

#[test]
fn a_life_that_only_ever_hears_that_another_one_holds_its_id_ends() {
    let (mut core, start) = (life(9, &[]), Instant::now());
    let second = Duration::from_secs(1);
    let mut ends = |holder, has_links, after: u32| {
        core.refused(&refusal(holder, has_links), start + second * after)
    };
    assert!((0..10).all(|after| !ends(5, false, after)));
    assert!(ends(5, false, 10));
    assert!(!ends(6, false, 11), "for the sake of another one");
    assert!((12..17).all(|after| !ends(6, false, after)) && !ends(6, true, 17));
    assert!((18..28).all(|after| !ends(6, false, after)), "it had a link meanwhile");
    assert!(!ends(6, false, 40), "it was not refused for long");
}

fn refusal(holder: u64, has_links: bool) -> Refusal {
    Refusal { holder: Incarnation(holder), address: "host:1".into(), has_links }
}

#[test]
fn what_is_remembered_is_bounded() {
    let (mut core, now) = (life(0, &[]), Instant::now());
    for number in 1..1000 {
        core.see(&listed(true, &[rival(1, number)]), now);
        assert!(core.known.len() <= REMEMBERED);
    }
}

/// How a registry keeps what stands under an id.
#[derive(Clone, Copy, Debug)]
enum Registry {
    /// What was written last.
    One,
    /// What each life wrote last.
    Each,
}

/// Two lives on one registry that read and write at any time.
struct Play {
    registry: Registry,
    lives: [Life; 2],
    entries: Vec<Rival>,
    now: Instant,
}

struct Life {
    core: Option<ClaimCore>,
    incarnation: u64,
    /// A write that is on its way.
    writing: Option<u64>,
    lost: bool,
}

impl Play {
    fn new(registry: Registry, incarnations: [u64; 2]) -> Self {
        let lives = incarnations.map(|incarnation| Life {
            core: None,
            incarnation,
            writing: None,
            lost: false,
        });
        Self { registry, lives, entries: Vec::new(), now: Instant::now() }
    }

    /// A write of a life arrives, also of one that has ended meanwhile.
    fn arrive(&mut self, index: usize) {
        let life = &mut self.lives[index];
        let Some(generation) = life.writing.take() else { return };
        match self.registry {
            Registry::One => self.entries.clear(),
            Registry::Each => {
                self.entries.retain(|entry| entry.claim.incarnation.0 != life.incarnation);
            }
        }
        self.entries.push(rival(generation, life.incarnation));
    }

    /// A life reads.
    fn read(&mut self, index: usize) {
        let life = &mut self.lives[index];
        if life.lost {
            return;
        }
        let own = Incarnation(life.incarnation);
        let (ours, rivals): (Vec<Rival>, Vec<Rival>) =
            self.entries.iter().cloned().partition(|entry| entry.claim.incarnation == own);
        let Some(core) = &mut life.core else {
            // It cannot find out that the other one lives.
            let core = ClaimCore::new(own, &rivals);
            life.writing = Some(core.generation());
            life.core = Some(core);
            return;
        };
        match core.see(&Listed { has_own: !ours.is_empty(), rivals }, self.now) {
            Step::Stay => {}
            Step::Write(_) => life.writing = Some(core.generation()),
            Step::End(_) => life.lost = true,
        }
    }

    fn step(&mut self, step: usize) {
        let index = step % 2;
        if step < 2 { self.arrive(index) } else { self.read(index) }
    }
}

proptest! {
    #[test]
    fn of_two_lives_that_cannot_ask_each_other_exactly_one_ends(
        is_one in any::<bool>(),
        a in 0..u64::MAX,
        b in 0..u64::MAX,
        order in prop::collection::vec(0..4usize, 0..60),
    ) {
        prop_assume!(a != b);
        let mut play = Play::new(if is_one { Registry::One } else { Registry::Each }, [a, b]);
        for step in order {
            play.step(step);
            prop_assert!(!play.lives.iter().all(|life| life.lost), "both have ended");
        }
        for _ in 0..40 {
            (0..4).for_each(|step| play.step(step));
        }
        let lost = play.lives.iter().filter(|life| life.lost).count();
        prop_assert_eq!(lost, 1);
        let stays = play.lives.iter().find(|life| !life.lost).map(|life| life.incarnation);
        let shown = play.entries.iter().map(|entry| entry.claim.incarnation.0);
        prop_assert!(shown.into_iter().any(|shown| Some(shown) == stays), "it is registered");
    }
}
