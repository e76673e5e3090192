//! Several overloads one after the other, each between two closed loops: how quick the machine is
//! changes from one moment to the next.

use std::time::Duration;

use imago_local::table;
use serde_json::{Value, json};

use super::{busy::Busy, report::Report};

/// All overloads of a run, in order.
pub(super) struct Rounds(pub(super) Vec<Report>);

// === impl Rounds ===

impl Rounds {
    const HEADINGS: [&'static str; 6] =
        ["ROUND", "BEST", "ACCEPTED/S", "OF THE BEST", "P99 MS SINCE DUE", "RECOVERED AFTER S"];

    /// The round of the median share of the best rate.
    ///
    /// # Errors
    /// Where there is no round.
    pub(super) fn median(&self) -> anyhow::Result<&Report> {
        let mut all: Vec<&Report> = self.0.iter().collect();
        all.sort_by(|one, other| one.share().total_cmp(&other.share()));
        let median = all.get(all.len().saturating_sub(1) / 2);
        median.copied().ok_or_else(|| anyhow::anyhow!("no round"))
    }

    /// For a terminal: the median round, a line for each where there are several, and the closed
    /// loop beside busy programs.
    pub(super) fn text(&self, busy: Option<&Busy>) -> anyhow::Result<String> {
        let median = self.median()?;
        let busy = busy.map(|busy| busy.text(median.best.rate)).unwrap_or_default();
        if self.0.len() == 1 {
            return Ok(median.text() + &busy);
        }
        let rows: Vec<Vec<String>> =
            (1..).zip(&self.0).map(|(number, it)| row(number, it)).collect();
        let rounds = table(&Self::HEADINGS, &rows);
        let (count, median) = (self.0.len(), median.text());
        Ok(format!("{rounds}\nThe median round of {count}:\n{median}{busy}"))
    }

    /// The median round, with some figures of each, and the closed loop beside busy programs.
    pub(super) fn json(&self, busy: Option<&Busy>) -> anyhow::Result<Value> {
        let mut figures = self.median()?.json();
        if let Value::Object(figures) = &mut figures {
            figures.insert("rounds".to_owned(), self.0.iter().map(round_json).collect());
            figures.insert("busy".to_owned(), busy.map_or(Value::Null, Busy::json));
        }
        Ok(figures)
    }
}

fn row(number: usize, report: &Report) -> Vec<String> {
    let recovered = report.recovered.map(|after| format!("{:.1}", after.as_secs_f64()));
    vec![
        number.to_string(),
        format!("{:.0}", report.best.rate),
        format!("{:.0}", report.accepted()),
        format!("{:.0} %", report.share() * 100.0),
        format!("{:.0}", report.p99_overload().as_secs_f64() * 1000.0),
        recovered.unwrap_or_else(|| "-".to_owned()),
    ]
}

fn round_json(report: &Report) -> Value {
    json!({
        "best_per_second": report.best.rate,
        "accepted_per_second": report.accepted(),
        "share": report.share(),
        "p99_ms": report.p99_overload().as_secs_f64() * 1000.0,
        "recovered_after_s": report.recovered.map(|after: Duration| after.as_secs_f64()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{busy::tests::busy, report::tests::of_best};
    use super::*;

    #[test]
    fn the_round_in_the_middle_is_shown_and_all_are_listed() {
        let rounds = Rounds([30.0, 10.0, 20.0].map(of_best).into());
        assert_eq!(rounds.median().unwrap().best.rate, 20.0);
        let text = rounds.text(None).unwrap();
        assert!(text.contains("The median round of 3:"), "{text}");
        let lines: Vec<&str> = text.lines().skip(1).take(3).collect();
        let bests: Vec<&str> =
            lines.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(bests, ["30", "10", "20"]);
        let figures = rounds.json(None).unwrap();
        assert_eq!(figures["best_per_second"], 20.0);
        assert_eq!(figures["rounds"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn one_round_is_shown_alone() {
        let rounds = Rounds(vec![of_best(10.0)]);
        assert_eq!(rounds.text(None).unwrap(), rounds.median().unwrap().text());
        assert!(Rounds(Vec::new()).text(None).is_err());
    }

    #[test]
    fn the_closed_loop_beside_busy_programs_is_told_at_the_end() {
        let rounds = Rounds(vec![of_best(50.0)]);
        let text = rounds.text(Some(&busy())).unwrap();
        assert!(text.contains("beside 2 busy programs") && text.contains("50 %"), "{text}");
        assert_eq!(rounds.json(Some(&busy())).unwrap()["busy"]["refusals"], 3);
        assert_eq!(rounds.json(None).unwrap()["busy"], Value::Null);
    }
}
