//! Memory of the gateways while clients are held.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::{
    measure::cpu::{Watched, resident},
    process::idlers::Idlers,
};

/// Looks at the memory, as often as that makes at most.
const SAMPLES: u32 = 600;
/// Time between looks, at least.
const STEP_MIN: Duration = Duration::from_secs(1);

/// Resident memory of each watched process, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory(pub(super) Vec<u64>);

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Time since the first.
    pub(super) at: Duration,
    pub(super) memory: Memory,
}

impl Memory {
    pub(super) fn read(watched: &[Watched]) -> anyhow::Result<Self> {
        let each: anyhow::Result<_> = watched.iter().map(|process| resident(process.pid)).collect();
        Ok(Self(each?))
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Looks at the memory now, and again and again while the clients are held.
pub(super) async fn hold(
    watched: &[Watched],
    hold: Duration,
    idlers: &Idlers,
) -> anyhow::Result<Vec<Sample>> {
    let begun = Instant::now();
    let mut samples = vec![Sample { at: Duration::ZERO, memory: Memory::read(watched)? }];
    let step = (hold / SAMPLES).max(STEP_MIN);
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(200));
    while begun.elapsed() < hold {
        tokio::time::sleep(step.min(hold.saturating_sub(begun.elapsed()))).await;
        let memory = Memory::read(watched)?;
        let told = idlers.told();
        progress.set_message(format!(
            "{:.0} of {:.0} s: {} held, {} pings, {:.1} MiB",
            begun.elapsed().as_secs_f64(),
            hold.as_secs_f64(),
            told.connected - told.lost.min(told.connected),
            told.pings,
            memory.sum() as f64 / 1_048_576.0
        ));
        samples.push(Sample { at: begun.elapsed(), memory });
    }
    progress.finish_and_clear();
    Ok(samples)
}
