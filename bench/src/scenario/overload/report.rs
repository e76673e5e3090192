//! What an overload tells: tables, and files for programs (JSON) and for people (HTML).

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use hdrhistogram::Histogram;
use imago_local::table;
use serde_json::{Value, json};

use super::{
    best::Best,
    ledger::{Counts, Ledger, Slot, count},
    plan::Phase,
};
use crate::measure::{
    recorder::{HEADINGS, percentiles, row},
    recovery::{WINDOW, bound, recovery},
    usage::Usage,
};

pub(super) const MIB: f64 = 1_048_576.0;

/// The figures of a whole run.
pub(super) struct Report {
    pub(super) title: String,
    pub(super) settings: Value,
    /// Of the closed loops before and after.
    pub(super) best: Best,
    phases: Vec<PhaseReport>,
    pub(super) windows: Vec<WindowReport>,
    pub(super) memory: Vec<MemoryReport>,
    /// Within which p99 counts as recovered, and the time until it was.
    bound: Duration,
    pub(super) recovered: Option<Duration>,
    calm: Duration,
    again: u64,
}

struct PhaseReport {
    phase: Phase,
    seconds: f64,
    due: u64,
    not_sent: u64,
    accepted: u64,
    delivered: u64,
    refused: BTreeMap<u32, u64>,
    /// Messages a second whose acceptance came while the phase lasted.
    accepted_rate: f64,
    /// Microseconds of CPU time of the servers, and of the load, for each of these.
    servers_cpu: f64,
    load_cpu: f64,
    times: Vec<(&'static str, Histogram<u64>)>,
}

pub(super) struct WindowReport {
    at: f64,
    pub(super) accepted: f64,
    pub(super) refused: f64,
    pub(super) not_sent: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

pub(super) struct MemoryReport {
    pub(super) name: String,
    before: Option<u64>,
    most: Option<u64>,
    after: Option<u64>,
    pub(super) all: Vec<u64>,
}

impl PhaseReport {
    fn of(ledger: &Ledger, usage: &[Usage], phase: Phase) -> Self {
        let (counts, stretch) = (ledger.phase(phase), ledger.plan.stretch(phase));
        let seconds = (stretch.until - stretch.from).as_secs_f64();
        let accepted: u64 = ledger.slots_of(phase).map(|slot| count(&slot.accepted)).sum();
        let due = count(&counts.due);
        let cpu = |is_load| {
            let usage = usage.iter().filter(|usage| usage.is_load == is_load);
            let cpu = usage.map(|usage| usage.cpu(stretch.from, stretch.until));
            cpu.fold(0.0, |all, one| all + one) * 1e6 / (accepted as f64).max(1.0)
        };
        Self {
            phase,
            seconds,
            due,
            not_sent: due.saturating_sub(count(&counts.sent)),
            accepted: count(&counts.accepted),
            delivered: count(&counts.delivered),
            refused: counts.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            accepted_rate: accepted as f64 / seconds,
            servers_cpu: cpu(false),
            load_cpu: cpu(true),
            times: times(counts),
        }
    }

    fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    fn p99_accepted(&self) -> Duration {
        let times = self.times.first().map_or(0, |(_, times)| times.value_at_quantile(0.99));
        Duration::from_micros(times)
    }

    fn json(&self) -> Value {
        let times = self.times.iter();
        let times = times
            .map(|(name, times)| (name.replace(", ", "_").replace(' ', "_"), percentiles(times)));
        json!({
            "phase": self.phase.name(), "seconds": self.seconds, "due": self.due,
            "not_sent": self.not_sent, "accepted": self.accepted,
            "delivered": self.delivered, "refused": self.refused,
            "accepted_per_second": self.accepted_rate,
            "servers_cpu_us_per_accepted": self.servers_cpu,
            "load_cpu_us_per_accepted": self.load_cpu,
            "milliseconds": Value::Object(times.collect()),
        })
    }
}

/// The first is what recovery is measured by.
fn times(counts: &Counts) -> Vec<(&'static str, Histogram<u64>)> {
    vec![
        ("accepted, since due", counts.accepted_since_due.take()),
        ("accepted, since written", counts.accepted_since_written.take()),
        ("delivered, since due", counts.delivered_since_due.take()),
        ("delivered, since written", counts.delivered_since_written.take()),
        ("refused, since written", counts.refused_since_written.take()),
    ]
}

impl WindowReport {
    fn of((number, slot): (usize, &Slot)) -> Self {
        let seconds = WINDOW.as_secs_f64();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        Self {
            at: number as f64 * seconds,
            accepted: count(&slot.accepted) as f64 / seconds,
            refused: count(&slot.refused) as f64 / seconds,
            not_sent: count(&slot.not_sent) as f64 / seconds,
            p50_ms: millis(slot.p50()),
            p99_ms: millis(slot.window().p99),
        }
    }

    fn json(&self) -> Value {
        json!({
            "at_s": self.at, "accepted_per_second": self.accepted,
            "refused_per_second": self.refused, "not_sent_per_second": self.not_sent,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
        })
    }
}

impl MemoryReport {
    fn of(ledger: &Ledger, usage: &Usage) -> Self {
        let overload = ledger.plan.stretch(Phase::Overload);
        Self {
            name: usage.name.clone(),
            before: usage.most(overload.from.saturating_sub(WINDOW), overload.from),
            most: usage.most(overload.from, overload.until),
            after: usage.last(),
            all: usage.resident.clone(),
        }
    }

    fn row(&self) -> Vec<String> {
        let mib = |bytes: Option<u64>| match bytes {
            Some(bytes) => format!("{:.1}", bytes as f64 / MIB),
            None => "-".to_owned(),
        };
        vec![self.name.clone(), mib(self.before), mib(self.most), mib(self.after)]
    }
}

impl Report {
    pub(super) fn new(
        (title, settings): (String, Value),
        best: Best,
        ledger: &Ledger,
        usage: &[Usage],
    ) -> Self {
        let phases: Vec<_> = Phase::ALL.map(|phase| PhaseReport::of(ledger, usage, phase)).into();
        let bound = bound(phases.first().map(PhaseReport::p99_accepted).unwrap_or_default());
        let after: Vec<_> = ledger.slots_of(Phase::After).map(Slot::window).collect();
        let calm = ledger.plan.stretch(Phase::After);
        Self {
            title,
            settings,
            best,
            phases,
            windows: ledger.slots().iter().enumerate().map(WindowReport::of).collect(),
            memory: usage.iter().map(|usage| MemoryReport::of(ledger, usage)).collect(),
            bound,
            recovered: recovery(&after, bound),
            calm: calm.until - calm.from,
            again: ledger.came_again(),
        }
    }

    fn overload(&self) -> Option<&PhaseReport> {
        self.phases.iter().find(|phase| phase.phase == Phase::Overload)
    }

    /// Messages a second that were accepted in the overload.
    pub(super) fn accepted(&self) -> f64 {
        self.overload().map_or(0.0, |phase| phase.accepted_rate)
    }

    /// The same as a share of the best rate.
    pub(super) fn share(&self) -> f64 {
        self.accepted() / self.best.rate
    }

    /// The time from when a message was due until it was accepted, in the overload.
    pub(super) fn p99_overload(&self) -> Duration {
        self.overload().map(PhaseReport::p99_accepted).unwrap_or_default()
    }

    pub(super) const RATES: [&'static str; 8] = [
        "",
        "DUE/S",
        "ACCEPTED/S",
        "OF THE BEST",
        "REFUSED",
        "NOT SENT",
        "SERVERS' CPU \u{b5}S EACH",
        "LOAD'S",
    ];
    pub(super) const MEMORY: [&'static str; 4] = ["MIB OF", "BEFORE", "MOST DURING", "AFTER"];

    pub(super) fn rates(&self) -> Vec<Vec<String>> {
        let best = vec![
            "best, closed loop".to_owned(),
            "-".to_owned(),
            format!("{:.0}", self.best.rate),
            "100 %".to_owned(),
            "-".to_owned(),
            "-".to_owned(),
            format!("{:.0}", self.best.cpu),
            "-".to_owned(),
        ];
        let row = |phase: &PhaseReport| {
            vec![
                phase.phase.name().to_owned(),
                format!("{:.0}", phase.due as f64 / phase.seconds),
                format!("{:.0}", phase.accepted_rate),
                format!("{:.0} %", phase.accepted_rate / self.best.rate * 100.0),
                phase.refusals().to_string(),
                phase.not_sent.to_string(),
                format!("{:.0}", phase.servers_cpu),
                format!("{:.0}", phase.load_cpu),
            ]
        };
        std::iter::once(best).chain(self.phases.iter().map(row)).collect()
    }

    fn times(phase: &PhaseReport) -> impl Iterator<Item = Vec<String>> {
        let name = phase.phase.name();
        let times = phase.times.iter().filter(|(_, times)| !times.is_empty());
        times.map(move |(until, times)| row(&format!("{name}: {until}"), times))
    }

    pub(super) fn all_times(&self) -> Vec<Vec<String>> {
        self.phases.iter().flat_map(Self::times).collect()
    }

    pub(super) fn memory_rows(&self) -> Vec<Vec<String>> {
        self.memory.iter().map(MemoryReport::row).collect()
    }

    /// What else is to be said, a line each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for phase in &self.phases {
            for (status, times) in &phase.refused {
                remarks.push(format!("{}: status {status}, {times} answers", phase.phase.name()));
            }
        }
        let bound = self.bound.as_secs_f64() * 1000.0;
        remarks.push(match self.recovered {
            Some(after) => format!(
                "recovered {:.1} s after the overload: all accepted, p99 of {WINDOW:?} at most {bound:.1} ms",
                after.as_secs_f64()
            ),
            None => format!(
                "not recovered {:.1} s after the overload: all accepted, p99 of {WINDOW:?} at most {bound:.1} ms",
                self.calm.as_secs_f64()
            ),
        });
        if self.again > 0 {
            remarks.push(format!("{} messages came a second time or out of order", self.again));
        }
        remarks
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let rates = table(&Self::RATES, &self.rates());
        let times = table(&HEADINGS, &self.all_times());
        let memory = table(&Self::MEMORY, &self.memory_rows());
        let remarks = self.remarks().join("\n");
        format!("{}\n\n{rates}\n{times}\n{memory}\n{remarks}\n", self.title)
    }

    pub(super) fn json(&self) -> Value {
        let phases: Vec<Value> = self.phases.iter().map(PhaseReport::json).collect();
        let windows: Vec<Value> = self.windows.iter().map(WindowReport::json).collect();
        let memory = self.memory.iter().map(|memory| {
            json!({
                "process": memory.name, "before": memory.before, "most": memory.most,
                "after": memory.after, "all": memory.all,
            })
        });
        json!({
            "title": self.title, "settings": self.settings, "best_per_second": self.best.rate,
            "best_servers_cpu_us_per_accepted": self.best.cpu,
            "phases": phases, "windows": windows, "memory_bytes": memory.collect::<Vec<_>>(),
            "recovery_bound_ms": self.bound.as_secs_f64() * 1000.0,
            "recovered_after_s": self.recovered.map(|after| after.as_secs_f64()),
            "again": self.again,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::time::Instant;

    use super::super::plan::Plan;
    use super::*;
    use crate::client::unanswered::Asked;

    const SECOND: Duration = Duration::from_secs(1);

    /// One accepted before; one accepted, two refused and one not sent in the overload; one after.
    /// All answers came at the begin.
    pub(crate) fn report() -> Report {
        begun(Duration::ZERO, 50.0)
    }

    /// The same, but all answers came in the overload; with this best rate.
    pub(crate) fn of_best(rate: f64) -> Report {
        begun(SECOND * 3 / 2, rate)
    }

    fn begun(ago: Duration, rate: f64) -> Report {
        let plan = Plan::new(2, (10.0, SECOND), (100.0, SECOND));
        let ledger = Ledger::new(plan, Instant::now() - ago);
        let asked = |due| Asked { due, written: due };
        for due in [SECOND / 2, SECOND * 3 / 2, SECOND * 5 / 2] {
            ledger.sent(due);
            ledger.answered(0, asked(due), 0);
            ledger.delivered(1, asked(due));
        }
        for _ in 0..2 {
            ledger.sent(SECOND * 3 / 2);
            ledger.answered(0, asked(SECOND * 3 / 2), 300);
        }
        ledger.not_sent(SECOND * 3 / 2);
        let mib = |mib: u64| mib << 20;
        let resident = (0..30).map(|at| mib(if (10..20).contains(&at) { 9 } else { 5 })).collect();
        let cpu = (0..31).map(f64::from).collect();
        let usage = [Usage { name: "gateway-1".to_owned(), is_load: false, resident, cpu }];
        let best = Best { rate, cpu: 9.0 };
        Report::new(("title".to_owned(), Value::Null), best, &ledger, &usage)
    }

    #[test]
    fn each_phase_tells_what_became_of_its_messages() {
        let report = report();
        // All answers came at the begin: in the phase before.
        assert_eq!(report.rates()[1][2..], ["3", "6 %", "0", "0", "3333333", "0"]);
        assert_eq!(report.rates()[2][..6], ["overload", "4", "0", "0 %", "2", "1"]);
        let overload = &report.json()["phases"][1];
        assert_eq!((&overload["accepted"], &overload["refused"]["300"]), (&json!(1), &json!(2)));
        assert!(overload["milliseconds"]["accepted_since_due"]["p99"].is_number());
        assert!(report.text().contains("overload: status 300, 2 answers"));
    }

    #[test]
    fn memory_is_told_before_during_and_after() {
        assert_eq!(report().memory_rows(), [["gateway-1", "5.0", "9.0", "5.0"]]);
    }
}
