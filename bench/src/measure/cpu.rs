//! What watched processes use: CPU time and memory, from proc(5).

use std::str::FromStr;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// Ticks a second of the times in `/proc/PID/stat`: USER_HZ, which is 100 on every Linux of today.
const TICKS: f64 = 100.0;

/// A process that is watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    /// `PID` or `NAME=PID`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = match text.split_once('=') {
            Some((name, pid)) => (name.to_owned(), pid),
            None => (format!("process {text}"), text),
        };
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        match pid {
            Some(pid) if !name.is_empty() => Ok(Self { name, pid }),
            _ => Err("expected PID or NAME=PID".to_owned()),
        }
    }
}

/// CPU seconds that each has used since it began.
pub(crate) fn seconds(watched: &[Watched]) -> anyhow::Result<Vec<f64>> {
    watched.iter().map(|process| used(process.pid)).collect()
}

/// What a process has used.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    pub(crate) name: String,
    /// CPU time, in seconds.
    pub(crate) seconds: f64,
    /// Resident memory in the end, in bytes.
    pub(crate) resident: u64,
}

/// What each has used since then.
pub(crate) fn spent(watched: &[Watched], before: &[f64]) -> anyhow::Result<Vec<Spent>> {
    let each = watched.iter().zip(before).map(|(process, before)| {
        let (seconds, resident) = (used(process.pid)? - before, resident(process.pid)?);
        Ok(Spent { name: process.name.clone(), seconds, resident })
    });
    each.collect()
}

/// What each used within `seconds`, in words.
pub(crate) fn in_words(spent: &[Spent], seconds: f64) -> Vec<String> {
    let line = |Spent { name, seconds: used, resident }: &Spent| {
        let share = used / seconds.max(0.001) * 100.0;
        let mib = *resident as f64 / f64::from(1 << 20);
        format!("{name}: CPU {used:.2} s, {share:.0} % of one core; memory {mib:.1} MiB")
    };
    spent.iter().map(line).collect()
}

/// The CPU time of each, for a file.
pub(crate) fn json(spent: &[Spent]) -> Value {
    Value::Object(spent.iter().map(|each| (each.name.clone(), json!(each.seconds))).collect())
}

/// The memory of each, for a file.
pub(crate) fn memory_json(spent: &[Spent]) -> Value {
    Value::Object(spent.iter().map(|each| (each.name.clone(), json!(each.resident))).collect())
}

fn used(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} has ended"))?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: Vec<u64> =
        ticks.collect::<Result<_, _>>().with_context(|| format!("/proc/{pid}/stat"))?;
    ensure!(ticks.len() == 2, "/proc/{pid}/stat has no times");
    Ok(ticks.iter().sum::<u64>() as f64 / TICKS)
}

/// Resident memory of a process, in bytes (`VmRSS`).
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("process {pid} has no VmRSS"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_name_that_it_is_given() {
        let named: Watched = "edge=12".parse().unwrap();
        assert_eq!((&*named.name, named.pid), ("edge", 12));
        let unnamed: Watched = "12".parse().unwrap();
        assert_eq!((&*unnamed.name, unnamed.pid), ("process 12", 12));
        for wrong in ["", "edge", "edge=", "=12", "0", "edge=-1"] {
            assert!(wrong.parse::<Watched>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn this_very_process_uses_time_and_memory() {
        let own = [Watched { name: "own".into(), pid: std::process::id() }];
        let before = seconds(&own).unwrap();
        while seconds(&own).unwrap() == before {
            std::hint::black_box(before.len());
        }
        let spent = spent(&own, &before).unwrap();
        assert!(spent[0].seconds > 0.0 && spent[0].resident > 1 << 20, "{spent:?}");
        assert!(in_words(&spent, 1.0)[0].contains("MiB"));
    }
}
