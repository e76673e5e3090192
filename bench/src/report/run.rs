//! What a run tells: a table, and files for programs (JSON) and for people (HTML).

use anyhow::ensure;
use imago_kit::{cli::print, out};
use imago_local::table;
use serde_json::{Value, json};

use super::{files::FileArgs, html::Page, picture::Curve};
use crate::measure::{
    cpu,
    meter::{curve, timeline_json},
    recorder::{HEADINGS, percentiles, row},
    run::{Measured, Totals},
    seen::Tally,
};

/// What a scenario tells beyond the others.
#[derive(Default)]
pub(crate) struct Extra {
    /// Rows of percentiles.
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) lines: Vec<String>,
    /// A name among the figures, and what is under it.
    pub(crate) json: (&'static str, Value),
}

/// The figures of one run.
pub(crate) struct Report {
    /// What was run, in a few words.
    pub(crate) title: String,
    /// Its settings.
    pub(crate) settings: Value,
    pub(crate) measured: Measured,
    pub(crate) totals: Totals,
    pub(crate) tally: Tally,
}

impl Report {
    /// Prints the figures, and writes them where they are wanted.
    ///
    /// # Errors
    /// When accepted messages did not arrive, or requests were not answered: then the figures are
    /// worth nothing.
    pub(crate) fn publish(&self, files: &FileArgs) -> anyhow::Result<()> {
        self.publish_with(files, &Extra::default())
    }

    /// As [`publish`](Self::publish), with what only this scenario tells.
    pub(crate) fn publish_with(&self, files: &FileArgs, extra: &Extra) -> anyhow::Result<()> {
        self.print(extra);
        files.write_json(&self.json(extra))?;
        files.write_html(|| self.page(extra))?;
        self.verify()
    }

    /// Whether the figures count.
    ///
    /// # Errors
    /// When accepted messages did not arrive, or requests were not answered.
    pub(crate) fn verify(&self) -> anyhow::Result<()> {
        let totals = &self.totals;
        let missing = totals.expected.saturating_sub(totals.delivered);
        ensure!(missing == 0, "{missing} deliveries of accepted messages are missing");
        let silent = totals.sent.saturating_sub(totals.answers);
        ensure!(silent == 0, "{silent} requests were not answered");
        Ok(())
    }

    /// Messages accepted a second.
    pub(crate) fn accepted_rate(&self) -> f64 {
        self.measured.accepted as f64 / self.measured.seconds.max(0.001)
    }

    /// Deliveries a second: of each message, as many as receive it.
    pub(crate) fn rate(&self) -> f64 {
        self.measured.delivered as f64 / self.measured.seconds.max(0.001)
    }

    /// Microseconds of CPU time of the watched processes for each delivery.
    pub(crate) fn cpu_each(&self) -> f64 {
        let cpu: f64 = self.measured.cpu.iter().map(|used| used.seconds).sum();
        cpu * 1e6 / (self.measured.delivered as f64).max(1.0)
    }

    /// The percentiles of all times, a row each.
    fn rows(&self, extra: &Extra) -> Vec<Vec<String>> {
        let Measured { delivery, answer, .. } = &self.measured;
        let mut rows = vec![row("delivered", delivery), row("answered", answer)];
        rows.extend_from_slice(&extra.rows);
        rows
    }

    /// How fast it was, in words.
    fn speed(&self) -> String {
        let (accepted, delivered) = (self.accepted_rate(), self.rate());
        format!("{accepted:.0} messages a second accepted, {delivered:.0} deliveries a second")
    }

    /// What was counted, in words.
    fn counted(&self, extra: &Extra) -> Vec<String> {
        let totals = &self.totals;
        let refused = totals.refused.iter();
        let mut lines: Vec<String> =
            refused.map(|(status, times)| format!("status {status}: {times} answers")).collect();
        lines.push(format!(
            "accepted {} of {}, delivered {} of {}, again {}, late {}",
            totals.accepted,
            totals.sent,
            totals.delivered,
            totals.expected,
            self.tally.again,
            self.tally.late
        ));
        lines.extend_from_slice(&extra.lines);
        lines.extend(cpu::in_words(&self.measured.cpu, self.measured.seconds));
        lines
    }

    fn print(&self, extra: &Extra) {
        out!("{}: {}\n", self.title, self.speed());
        print(table(&HEADINGS, &self.rows(extra)));
        for line in self.counted(extra) {
            out!("{line}");
        }
    }

    fn page(&self, extra: &Extra) -> String {
        let (timeline, seconds) = (&self.measured.timeline, self.measured.seconds);
        let rate = [Curve { name: "delivered", values: curve(timeline, |second| second.rate) }];
        let times = [
            Curve { name: "p50", values: curve(timeline, |second| second.p50) },
            Curve { name: "p99", values: curve(timeline, |second| second.p99) },
        ];
        Page::new(&self.title)
            .text(&format!("{}, over {seconds:.0} s.", self.speed()))
            .table(&HEADINGS, &self.rows(extra))
            .picture("Messages delivered a second", &rate, seconds)
            .picture("Milliseconds until delivery", &times, seconds)
            .list(&self.counted(extra))
            .end(&self.settings)
    }

    fn json(&self, extra: &Extra) -> Value {
        let (measured, totals) = (&self.measured, &self.totals);
        let mut figures = json!({
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
            "cpu_seconds": cpu::json(&measured.cpu),
            "resident_bytes": cpu::memory_json(&measured.cpu),
            "timeline": timeline_json(&measured.timeline),
        });
        if let (name, Some(all)) = (extra.json.0, figures.as_object_mut())
            && !name.is_empty()
        {
            all.insert(name.to_owned(), extra.json.1.clone());
        }
        figures
    }
}
