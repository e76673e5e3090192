//! Memory and CPU time of processes over time.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    cpu::{Watched, resident, seconds},
    recovery::WINDOW,
};

/// One process.
pub(crate) struct Usage {
    pub(crate) name: String,
    /// It is this one, the load.
    pub(crate) is_load: bool,
    /// Bytes at the begin of each window.
    pub(crate) resident: Vec<u64>,
    /// Seconds of CPU time used until then.
    pub(crate) cpu: Vec<f64>,
}

fn place(at: Duration) -> usize {
    (at.as_secs_f64() / WINDOW.as_secs_f64()).round() as usize
}

impl Usage {
    /// The most between two moments, `None` where none was read.
    pub(crate) fn most(&self, from: Duration, until: Duration) -> Option<u64> {
        let (from, until) = (place(from), place(until));
        self.resident.iter().skip(from).take(until.saturating_sub(from)).copied().max()
    }

    /// Seconds of CPU time used between two moments.
    pub(crate) fn cpu(&self, from: Duration, until: Duration) -> f64 {
        let last = self.cpu.len().saturating_sub(1);
        let at = |at: Duration| self.cpu.get(place(at).min(last)).copied().unwrap_or_default();
        at(until) - at(from)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.resident.last().copied()
    }
}

/// Looks once a window at all of them and at this process, from now on for so long.
pub(crate) async fn watch(
    mut watched: Vec<Watched>,
    start: Instant,
    lasts: Duration,
) -> anyhow::Result<Vec<Usage>> {
    let load = std::process::id();
    watched.retain(|process| process.pid != load);
    watched.push(Watched { name: "load".to_owned(), pid: load });
    let empty = |process: &Watched| Usage {
        name: process.name.clone(),
        is_load: process.pid == load,
        resident: Vec::new(),
        cpu: Vec::new(),
    };
    let mut usage: Vec<Usage> = watched.iter().map(empty).collect();
    let mut ticks = interval_at(start, WINDOW);
    // A look that is late is made up for, so that looks and windows go together.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while ticks.tick().await < start + lasts + WINDOW {
        let cpu = seconds(&watched)?;
        for ((process, cpu), usage) in watched.iter().zip(cpu).zip(&mut usage) {
            usage.resident.push(resident(process.pid)?);
            usage.cpu.push(cpu);
        }
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_time_asked_for() {
        let (resident, cpu) = (vec![5, 9, 2, 3], vec![1.0, 1.5, 2.5, 4.5]);
        let memory = Usage { name: "one".to_owned(), is_load: false, resident, cpu };
        let ms = Duration::from_millis;
        assert_eq!(memory.most(ms(0), ms(200)), Some(9));
        assert_eq!(memory.most(ms(200), ms(900)), Some(3));
        assert_eq!(memory.most(ms(400), ms(900)), None);
        assert_eq!(memory.last(), Some(3));
        assert!((memory.cpu(ms(100), ms(200)) - 1.0).abs() < 1e-9);
        assert!((memory.cpu(ms(100), ms(900)) - 3.0).abs() < 1e-9);
    }
}
