//! What a run tells: a table, and files for programs (JSON) and for people (HTML).

use std::path::PathBuf;

use anyhow::{Context, ensure};
use imago_container::cli::print;
use serde_json::{Value, json};

use super::{
    client::Tally,
    html,
    recorder::{PERCENTILES, millis, percentiles},
    run::{Measured, Totals},
};
use crate::table::table;

/// Where figures go beside the terminal.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FileArgs {
    /// Write the figures to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with pictures of the figures over time
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The figures of one run.
pub(super) struct Report {
    /// What was run, in a few words.
    pub(super) title: String,
    /// Its settings.
    pub(super) settings: Value,
    pub(super) measured: Measured,
    pub(super) totals: Totals,
    pub(super) tally: Tally,
}

impl FileArgs {
    pub(super) fn write_json(&self, figures: &Value) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        std::fs::write(path, serde_json::to_vec_pretty(figures)?)
            .with_context(|| format!("--json {}", path.display()))
    }

    pub(super) fn write_html(&self, page: &str) -> anyhow::Result<()> {
        let Some(path) = &self.html else { return Ok(()) };
        std::fs::write(path, page).with_context(|| format!("--html {}", path.display()))
    }
}

impl Report {
    /// Prints the figures, and writes them where they are wanted.
    ///
    /// # Errors
    /// When accepted messages did not arrive, or requests were not answered: then the figures are
    /// worth nothing.
    pub(super) fn publish(&self, files: &FileArgs) -> anyhow::Result<()> {
        self.print();
        files.write_json(&self.json())?;
        files.write_html(&html::page(self))?;
        self.verify()
    }

    /// Whether the figures count.
    ///
    /// # Errors
    /// When accepted messages did not arrive, or requests were not answered.
    pub(super) fn verify(&self) -> anyhow::Result<()> {
        let totals = &self.totals;
        let missing = totals.expected.saturating_sub(totals.delivered);
        ensure!(missing == 0, "{missing} deliveries of accepted messages are missing");
        let silent = totals.sent.saturating_sub(totals.answers);
        ensure!(silent == 0, "{silent} requests were not answered");
        Ok(())
    }

    /// Messages accepted a second.
    fn accepted_rate(&self) -> f64 {
        self.measured.accepted as f64 / self.measured.seconds.max(0.001)
    }

    /// Deliveries a second: of each message, as many as receive it.
    pub(super) fn rate(&self) -> f64 {
        self.measured.delivered as f64 / self.measured.seconds.max(0.001)
    }

    /// Microseconds of CPU time of the watched processes for each delivery.
    pub(super) fn cpu_each(&self) -> f64 {
        let cpu: f64 = self.measured.cpu.iter().map(|(_, seconds)| seconds).sum();
        cpu * 1e6 / (self.measured.delivered as f64).max(1.0)
    }

    /// The percentiles of both times, a row each.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let rows = [("delivered", &self.measured.delivery), ("answered", &self.measured.answer)];
        rows.iter()
            .map(|(name, times)| {
                let values = PERCENTILES.iter().map(|(_, at)| format!("{:.2}", millis(times, *at)));
                std::iter::once((*name).to_owned()).chain(values).collect()
            })
            .collect()
    }

    fn print(&self) {
        out!(
            "{}: {:.0} messages a second accepted, {:.0} deliveries a second\n",
            self.title,
            self.accepted_rate(),
            self.rate()
        );
        print(table(&["MILLISECONDS UNTIL", "P50", "P90", "P99", "P99.9", "MAX"], &self.rows()));
        let totals = &self.totals;
        for (status, times) in &totals.refused {
            out!("status {status}: {times} answers");
        }
        out!(
            "accepted {} of {}, delivered {} of {}, again {}, late {}",
            totals.accepted,
            totals.sent,
            totals.delivered,
            totals.expected,
            self.tally.again,
            self.tally.late
        );
        for (name, seconds) in &self.measured.cpu {
            let share = seconds / self.measured.seconds.max(0.001) * 100.0;
            out!("cpu of {name}: {seconds:.2} s, {share:.0} % of one core");
        }
    }

    fn json(&self) -> Value {
        let (measured, totals) = (&self.measured, &self.totals);
        let timeline = measured.timeline.iter().map(
            |second| json!({ "per_second": second.rate, "p50_ms": second.p50, "p99_ms": second.p99 }),
        );
        json!({
            "title": self.title,
            "settings": self.settings,
            "seconds": measured.seconds,
            "accepted_per_second": self.accepted_rate(),
            "per_second": self.rate(),
            "delivered_ms": percentiles(&measured.delivery),
            "answered_ms": percentiles(&measured.answer),
            "sent": totals.sent, "accepted": totals.accepted, "delivered": totals.delivered,
            "expected": totals.expected, "refused": totals.refused,
            "again": self.tally.again, "late": self.tally.late,
            "cpu_seconds": measured.cpu.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "timeline": timeline.collect::<Vec<_>>(),
        })
    }
}
