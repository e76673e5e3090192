//! A closed loop beside programs that keep processors busy: clients that wait for their answers
//! bound themselves, so that none of them is to be refused, however slow the machine is.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use hdrhistogram::Histogram;
use imago_local::table;
use serde_json::{Value, json};

use crate::{
    measure::recorder::{millis, percentiles},
    process::burner::{self, Burners},
    report::run::Report,
    scenario::{load::LoadArgs, talk, target::TargetArgs},
};

/// How long is not measured before.
const WARM_UP: Duration = Duration::from_secs(1);

/// Flags of the closed loop beside busy programs.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BusyArgs {
    /// Programs that each keep a processor busy beside a closed loop, after the rounds; as many as
    /// there are processors otherwise, 0 leaves this part out
    #[arg(long, value_name = "N")]
    busy: Option<usize>,
    /// Messages that each client may have unanswered beside them
    #[arg(long, value_name = "N", default_value_t = 16)]
    busy_window: usize,
}

/// What the closed loop got through.
pub(super) struct Busy {
    /// Programs beside it, clients, and the window of each of these.
    programs: usize,
    clients: usize,
    window: usize,
    /// Messages accepted a second.
    rate: f64,
    /// Counts over the whole run, warm-up included.
    sent: u64,
    accepted: u64,
    refused: BTreeMap<u32, u64>,
    /// Until messages were delivered, and until requests were answered.
    delivered: Histogram<u64>,
    answered: Histogram<u64>,
}

// === impl BusyArgs ===

impl BusyArgs {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let most = burner::MAX;
        ensure!(self.busy.is_none_or(|busy| busy <= most), "--busy: expected 0 to {most}");
        ensure!((1..=1000).contains(&self.busy_window), "--busy-window: expected 1 to 1000");
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        json!({ "programs": self.programs(), "window": self.busy_window })
    }

    fn programs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.busy.unwrap_or_else(processors).min(burner::MAX)
    }

    /// Runs the closed loop; `None` where no programs are to be beside it.
    pub(super) async fn measure(
        &self,
        target: &TargetArgs,
        clients: usize,
        (duration, size): (Duration, usize),
    ) -> anyhow::Result<Option<Busy>> {
        let (programs, window) = (self.programs(), self.busy_window);
        if programs == 0 {
            return Ok(None);
        }
        let closed = LoadArgs::closed(window, (WARM_UP.min(duration), duration), size);
        let burners = Burners::start(programs).await?;
        let report = talk::measure(target, &closed, clients).await?;
        drop(burners);
        report.verify()?;
        Ok(Some(Busy::new((programs, clients, window), report)))
    }
}

// === impl Busy ===

impl Busy {
    pub(super) const HEADINGS: [&'static str; 7] = [
        "CLOSED LOOP",
        "ACCEPTED/S",
        "OF THE BEST",
        "ACCEPTED",
        "REFUSED",
        "P50 MS",
        "P99 MS UNTIL DELIVERED",
    ];

    fn new((programs, clients, window): (usize, usize, usize), report: Report) -> Self {
        let rate = report.accepted_rate();
        let Report { measured, totals, .. } = report;
        Self {
            programs,
            clients,
            window,
            rate,
            sent: totals.sent,
            accepted: totals.accepted,
            refused: totals.refused,
            delivered: measured.delivery,
            answered: measured.answer,
        }
    }

    fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// What was run, in a few words.
    pub(super) fn title(&self) -> String {
        let Self { programs, clients, window, .. } = self;
        format!("Closed loop beside {programs} busy programs: {clients} clients, window {window}")
    }

    /// One row, where `best` messages a second are the best rate without busy programs.
    pub(super) fn rows(&self, best: f64) -> Vec<Vec<String>> {
        vec![vec![
            format!("beside {} busy programs", self.programs),
            format!("{:.0}", self.rate),
            format!("{:.0} %", self.rate / best * 100.0),
            self.accepted.to_string(),
            self.refusals().to_string(),
            format!("{:.1}", millis(&self.delivered, 0.5)),
            format!("{:.1}", millis(&self.delivered, 0.99)),
        ]]
    }

    /// For a terminal.
    pub(super) fn text(&self, best: f64) -> String {
        let mut text = format!("\n{}\n\n", self.title());
        text.push_str(&table(&Self::HEADINGS, &self.rows(best)));
        for (status, times) in &self.refused {
            text.push_str(&format!("status {status}: {times} answers\n"));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "programs": self.programs, "clients": self.clients, "window": self.window,
            "accepted_per_second": self.rate, "sent": self.sent, "accepted": self.accepted,
            "refused": self.refused, "refusals": self.refusals(),
            "delivered_ms": percentiles(&self.delivered),
            "answered_ms": percentiles(&self.answered),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::measure::recorder::histogram;

    pub(crate) fn busy() -> Busy {
        let mut delivered = histogram();
        delivered.saturating_record(5000);
        Busy {
            programs: 2,
            clients: 4,
            window: 16,
            rate: 25.0,
            sent: 103,
            accepted: 100,
            refused: BTreeMap::from([(300, 3)]),
            answered: delivered.clone(),
            delivered,
        }
    }

    #[test]
    fn it_tells_what_was_accepted_and_refused_beside_how_many_programs() {
        let text = busy().text(50.0);
        assert!(
            text.contains("Closed loop beside 2 busy programs: 4 clients, window 16"),
            "{text}"
        );
        assert!(text.contains("50 %") && text.contains("status 300: 3 answers"), "{text}");
        let figures = busy().json();
        assert_eq!((&figures["accepted"], &figures["refusals"]), (&json!(100), &json!(3)));
        assert!(figures["delivered_ms"]["p99"].is_number());
    }

    #[test]
    fn there_are_as_many_programs_as_processors_unless_said_otherwise() {
        let programs = |busy| BusyArgs { busy, busy_window: 16 }.programs();
        assert!(programs(None) >= 1);
        assert_eq!((programs(Some(0)), programs(Some(3))), (0, 3));
    }
}
