//! A simulated server with a queue, and clients of both kinds before it, a millisecond at a time.

use std::{collections::VecDeque, time::Duration};

use super::{Admission, Bounds};

const BOUNDS: Bounds = Bounds::DEFAULT;
/// Milliseconds between two looks.
const LOOK: u64 = 100;
/// Milliseconds for which a gateway does not read a client that it has refused.
const PAUSE: u64 = 50;

/// A client that waits for answers before it sends more.
#[derive(Clone, Default)]
struct Bounded {
    /// Requests that it may send.
    free: usize,
    paused_until: u64,
}

/// What happened.
#[derive(Clone, Debug, Default)]
struct Tally {
    refused: usize,
    /// Milliseconds that each answer took.
    took: Vec<u64>,
}

struct World {
    admission: Admission,
    now: u64,
    /// Answers a second.
    rate: f64,
    /// What the server could have answered, less what it did.
    carry: f64,
    /// Client and time of each request that the server owes.
    queue: VecDeque<(usize, u64)>,
    own: Vec<usize>,
    bounded: Vec<Bounded>,
    /// Requests a second of all other clients, and how many of them are due.
    offered: f64,
    due: f64,
    next: usize,
    tally: Tally,
}

impl World {
    /// `bounded` clients that keep `window` requests under way, and `others`.
    fn new(rate: f64, (bounded, window): (usize, usize), others: usize) -> Self {
        Self {
            admission: Admission::default(),
            now: 0,
            rate,
            carry: 0.0,
            queue: VecDeque::new(),
            own: vec![0; bounded + others],
            bounded: vec![Bounded { free: window, paused_until: 0 }; bounded],
            offered: 0.0,
            due: 0.0,
            next: 0,
            tally: Tally::default(),
        }
    }

    /// Returns what happened in `millis` milliseconds.
    fn run(&mut self, millis: u64) -> Tally {
        self.tally = Tally::default();
        for _ in 0..millis {
            self.now += 1;
            self.answer();
            self.ask_again();
            self.ask();
            if self.now.is_multiple_of(LOOK) {
                let elapsed = Duration::from_millis(LOOK);
                self.admission.look(elapsed, self.queue.len(), BOUNDS);
            }
        }
        std::mem::take(&mut self.tally)
    }

    fn answer(&mut self) {
        self.carry += self.rate / 1000.0;
        while self.carry >= 1.0 {
            self.carry -= 1.0;
            let Some((client, at)) = self.queue.pop_front() else { continue };
            let took = self.now - at;
            self.admission.answered(Duration::from_millis(took) > BOUNDS.delay);
            self.tally.took.push(took);
            self.own[client] -= 1;
            if let Some(bounded) = self.bounded.get_mut(client) {
                bounded.free += 1;
            }
        }
    }

    fn ask_again(&mut self) {
        for client in 0..self.bounded.len() {
            let Bounded { free, paused_until } = self.bounded[client];
            if paused_until > self.now {
                continue;
            }
            let accepted = (0..free).filter(|_| self.submit(client)).count();
            self.bounded[client].free -= accepted;
            if accepted < free {
                self.bounded[client].paused_until = self.now + PAUSE;
            }
        }
    }

    fn ask(&mut self) {
        self.due += self.offered / 1000.0;
        let others = self.own.len() - self.bounded.len();
        while self.due >= 1.0 {
            self.due -= 1.0;
            self.next = (self.next + 1) % others;
            self.submit(self.bounded.len() + self.next);
        }
    }

    /// Clients that wait for answers and wait for room now.
    fn refused_clients(&self) -> usize {
        self.bounded.iter().filter(|client| client.free > 0).count()
    }

    /// Returns whether the request was let through.
    fn submit(&mut self, client: usize) -> bool {
        let admits = self.admission.admits(self.queue.len() + 1, self.own[client]);
        if admits {
            self.queue.push_back((client, self.now));
            self.own[client] += 1;
        } else {
            self.tally.refused += 1;
        }
        admits
    }
}

impl Tally {
    fn longest(&self) -> u64 {
        self.took.iter().copied().max().unwrap_or_default()
    }
}

/// 3,200 requests under way, 640 ms of work.
fn closed_loop() -> World {
    World::new(5000.0, (200, 16), 0)
}

/// 2,000 clients that offer `times` what the server answers.
fn open_loop(times: f64) -> World {
    let mut world = World::new(5000.0, (0, 0), 2000);
    world.offered = times * world.rate;
    world
}

#[test]
fn a_closed_loop_within_the_patience_is_not_refused() {
    let tally = closed_loop().run(20_000);
    assert_eq!(tally.refused, 0);
    assert_eq!(tally.longest(), 640);
    assert!(tally.took.len() > 99_000, "{}", tally.took.len());
}

#[test]
fn a_stall_of_the_server_refuses_nothing_of_a_closed_loop() {
    let mut world = closed_loop();
    let mut stall = |millis| {
        world.rate = 0.0;
        let refused = world.run(millis).refused;
        world.rate = 5000.0;
        refused + world.run(2500).refused
    };
    // The first one comes before the capacity is known.
    for millis in [800, 800, 800, 800, 3000, 800] {
        assert_eq!(stall(millis), 0, "{millis} ms");
    }
}

#[test]
fn a_server_whose_rate_varies_refuses_nothing_of_a_closed_loop() {
    let mut world = closed_loop();
    for rate in [2500.0, 9000.0, 2500.0, 1000.0, 9000.0, 2500.0, 20_000.0, 2500.0] {
        world.rate = rate;
        assert_eq!(world.run(700).refused, 0, "{rate}");
    }
}

#[test]
fn an_open_loop_gets_what_the_server_can_do_with_a_bounded_delay_and_recovers() {
    for (times, first, longest) in [(1.5, 2100, 360), (3.0, 2400, 360), (10.0, 4900, 500)] {
        let mut world = open_loop(times);
        let tally = world.run(9000);
        assert!(tally.longest() < first, "{times}: {}", tally.longest());
        assert!(tally.took.len() > 44_900, "{times}: {}", tally.took.len());
        let tally = world.run(5000);
        assert!(tally.longest() < longest, "{times}: {}", tally.longest());
        assert!(tally.took.len() > 24_900, "{times}: {}", tally.took.len());
        let excess = (times - 1.0) * 25_000.0;
        assert!((tally.refused as f64 / excess - 1.0).abs() < 0.05, "{times}: {}", tally.refused);
        world.offered = 0.3 * world.rate;
        world.run(700);
        let tally = world.run(3000);
        assert_eq!((tally.refused, tally.longest()), (0, 1), "{times}");
    }
}

#[test]
fn a_closed_loop_too_large_for_its_server_is_served_again_once_that_is_quicker() {
    let mut world = closed_loop();
    world.run(3000);
    world.rate = 500.0;
    let tally = world.run(10_000);
    assert!(tally.refused > 1000, "6.4 s of work: {}", tally.refused);
    world.rate = 5000.0;
    world.run(11_000);
    assert_eq!(world.run(20_000).refused, 0);
}

#[test]
fn an_overload_that_goes_on_is_probed_ever_more_rarely() {
    let mut world = open_loop(3.0);
    let long = (0..300).filter(|_| world.run(1000).longest() > 400).count();
    assert!((10..=40).contains(&long), "{long} of 300 seconds");
}

#[test]
fn clients_that_send_little_get_in_beside_those_that_send_without_end() {
    let mut world = World::new(5000.0, (100, 1), 200);
    world.offered = 15_000.0;
    world.run(6000);
    for _ in 0..300 {
        assert!(world.run(10).refused > 50, "the others are");
        assert_eq!(world.refused_clients(), 0, "of 100 that have one request each under way");
    }
}
