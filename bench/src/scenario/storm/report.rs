//! What a storm tells: a table, and files.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use hdrhistogram::Histogram;
use imago_kit::{cli::print, out};
use imago_local::table;
use serde_json::{Value, json};

use super::round::{Figures, STEP};
use crate::{
    measure::{
        cpu::{self, Spent},
        recorder::{HEADINGS, histogram, percentiles, row},
    },
    report::{files::FileArgs, html::Page, picture::Curve},
};

const ROUND_HEADINGS: [&str; 8] =
    ["MILLISECONDS UNTIL BACK", "50 %", "99 %", "ALL", "TRIES", "FAILED", "LOGIN P50", "LOGIN P99"];

/// The figures of all rounds.
pub(super) struct Report {
    pub(super) clients: usize,
    pub(super) deadline: Duration,
    pub(super) settings: Value,
    pub(super) rounds: Vec<Figures>,
    pub(super) cpu: Vec<Spent>,
}

impl Report {
    /// Prints the figures, and writes them where they are wanted.
    ///
    /// # Errors
    /// When clients were not back in time.
    pub(super) fn publish(&self, files: &FileArgs) -> anyhow::Result<()> {
        out!("{}\n", self.title());
        print(table(&ROUND_HEADINGS, &self.round_rows()));
        out!("");
        print(table(&HEADINGS, &[row("logged in", &self.logins())]));
        for line in self.lines() {
            out!("{line}");
        }
        files.write_json(&self.json())?;
        files.write_html(|| self.page())?;
        let missing: usize = self.rounds.iter().map(Figures::missing).sum();
        ensure!(
            missing == 0,
            "{missing} of {} clients were not logged in again within {:?}",
            self.clients,
            self.deadline
        );
        Ok(())
    }

    fn title(&self) -> String {
        format!("{} clients are cut off and come back, all at once", self.clients)
    }

    fn round_rows(&self) -> Vec<Vec<String>> {
        (1..).zip(&self.rounds).map(|(number, round)| round.row(number)).collect()
    }

    /// Times of the logins of all rounds.
    fn logins(&self) -> Histogram<u64> {
        let mut all = histogram();
        for round in &self.rounds {
            all.add(&round.logins).expect("all have the same bounds");
        }
        all
    }

    /// What failed, and CPU, in words.
    fn lines(&self) -> Vec<String> {
        let mut failures: BTreeMap<&str, u64> = BTreeMap::new();
        for (kind, times) in self.rounds.iter().flat_map(|round| &round.failures) {
            *failures.entry(kind).or_default() += times;
        }
        let failures = failures.iter().map(|(kind, times)| format!("{kind}: {times} times"));
        let cpu =
            self.cpu.iter().map(|used| format!("cpu of {}: {:.2} s", used.name, used.seconds));
        failures.chain(cpu).collect()
    }

    fn json(&self) -> Value {
        let round = |round: &Figures| {
            json!({
                "half_ms": round.until(0.5), "most_ms": round.until(0.99),
                "all_ms": round.until(1.0), "missing": round.missing(),
                "tries": round.tries, "failures": round.failures,
                "logged_in_ms": percentiles(&round.logins), "online": round.online,
            })
        };
        json!({
            "title": self.title(),
            "settings": self.settings,
            "rounds": self.rounds.iter().map(round).collect::<Vec<_>>(),
            "step_s": STEP.as_secs_f64(),
            "logged_in_ms": percentiles(&self.logins()),
            "cpu_seconds": cpu::json(&self.cpu),
        })
    }

    fn page(&self) -> String {
        let names: Vec<String> =
            (1..=self.rounds.len()).map(|number| format!("round {number}")).collect();
        let curves: Vec<Curve<'_>> = names
            .iter()
            .zip(&self.rounds)
            .map(|(name, round)| Curve { name, values: round.online.clone() })
            .collect();
        let steps = self.rounds.iter().map(|round| round.online.len()).max().unwrap_or_default();
        let seconds = STEP.as_secs_f64() * steps.saturating_sub(1) as f64;
        Page::new(&self.title())
            .table(&ROUND_HEADINGS, &self.round_rows())
            .picture("Clients logged in, since the cut", &curves, seconds)
            .table(&HEADINGS, &[row("logged in", &self.logins())])
            .list(&self.lines())
            .end(&self.settings)
    }
}
