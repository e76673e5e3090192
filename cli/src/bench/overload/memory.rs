//! Memory of the watched processes over time.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    super::cpu::{Watched, resident},
    recovery::WINDOW,
};

/// One process.
pub(super) struct Memory {
    pub(super) name: String,
    /// Bytes at the begin of each window.
    pub(super) resident: Vec<u64>,
}

impl Memory {
    /// The most between two moments, `None` where nobody looked.
    pub(super) fn most(&self, from: Duration, until: Duration) -> Option<u64> {
        let place = |at: Duration| (at.as_secs_f64() / WINDOW.as_secs_f64()).round() as usize;
        let (from, until) = (place(from), place(until));
        self.resident.iter().skip(from).take(until.saturating_sub(from)).copied().max()
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.resident.last().copied()
    }
}

/// Looks once a window, from now on for so long.
pub(super) async fn watch(
    watched: Vec<Watched>,
    start: Instant,
    lasts: Duration,
) -> anyhow::Result<Vec<Memory>> {
    let empty = |process: &Watched| Memory { name: process.name.clone(), resident: Vec::new() };
    let mut memory: Vec<Memory> = watched.iter().map(empty).collect();
    let mut ticks = interval_at(start, WINDOW);
    // A look that is late is made up for, so that looks and windows go together.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while ticks.tick().await < start + lasts {
        for (process, memory) in watched.iter().zip(&mut memory) {
            memory.resident.push(resident(process.pid)?);
        }
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_that_of_the_time_asked_for() {
        let memory = Memory { name: "one".to_owned(), resident: vec![5, 9, 2, 3] };
        let ms = Duration::from_millis;
        assert_eq!(memory.most(ms(0), ms(200)), Some(9));
        assert_eq!(memory.most(ms(200), ms(900)), Some(3));
        assert_eq!(memory.most(ms(400), ms(900)), None);
        assert_eq!(memory.last(), Some(3));
    }
}
