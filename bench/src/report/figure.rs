//! What was measured of each side, over all rounds: medians, spans and ratios.

use imago_local::table;
use serde_json::{Value, json};

use super::{html::Page, picture::Bar, run::Report};
use crate::measure::recorder::millis;

/// One side in one round.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Deliveries a second.
    pub(crate) rate: f64,
    /// Milliseconds until delivery.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Microseconds of CPU of all servers for each delivery; `None` where none was watched.
    pub(crate) cpu: Option<f64>,
}

/// One side in all rounds.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) what: String,
    pub(crate) rounds: Vec<Figure>,
}

/// All sides; the first is what the others are measured by.
pub(crate) struct Comparison {
    pub(crate) title: String,
    pub(crate) settings: Value,
    /// What a second's worth is called, and whose CPU time is told.
    pub(crate) unit: &'static str,
    pub(crate) sides: Vec<Side>,
}

impl Figure {
    pub(crate) fn of(report: &Report) -> Self {
        let measured = &report.measured;
        Self {
            rate: report.rate(),
            p50: millis(&measured.delivery, 0.5),
            p99: millis(&measured.delivery, 0.99),
            cpu: (!measured.cpu.is_empty()).then(|| report.cpu_each()),
        }
    }

    fn json(&self) -> Value {
        json!({
            "per_second": self.rate, "p50_ms": self.p50, "p99_ms": self.p99,
            "cpu_us_per_delivery": self.cpu,
        })
    }
}

impl Side {
    fn sorted(&self, value: impl Fn(&Figure) -> Option<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.rounds.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median of each value over the rounds.
    fn median(&self) -> Figure {
        let middle = |value: fn(&Figure) -> Option<f64>| {
            let values = self.sorted(value);
            values.get(values.len() / 2).copied()
        };
        let of = |value| middle(value).unwrap_or(f64::NAN);
        Figure {
            rate: of(|figure| Some(figure.rate)),
            p50: of(|figure| Some(figure.p50)),
            p99: of(|figure| Some(figure.p99)),
            cpu: middle(|figure| figure.cpu),
        }
    }

    /// The lowest and the highest rate of the rounds.
    fn span(&self) -> (f64, f64) {
        let rates = self.sorted(|figure| Some(figure.rate));
        let of = |rate: Option<&f64>| rate.copied().unwrap_or(f64::NAN);
        (of(rates.first()), of(rates.last()))
    }
}

impl Comparison {
    fn headings(&self) -> [&str; 8] {
        [
            "",
            self.unit,
            "MIN..MAX",
            "OF THE LIMIT",
            "P50 MS",
            "P99 MS",
            "TIMES THE LIMIT'S",
            "SERVERS' CPU \u{b5}S EACH",
        ]
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let limit = self.sides.first().map(Side::median);
        let share = |of: fn(&Figure) -> f64, figure: &Figure| {
            limit.as_ref().map_or(f64::NAN, |limit| of(figure) / of(limit))
        };
        let row = |side: &Side| {
            let (figure, (least, most)) = (side.median(), side.span());
            vec![
                side.what.to_owned(),
                format!("{:.0}", figure.rate),
                format!("{least:.0}..{most:.0}"),
                format!("{:.0} %", share(|figure| figure.rate, &figure) * 100.0),
                format!("{:.2}", figure.p50),
                format!("{:.2}", figure.p99),
                format!("{:.1}", share(|figure| figure.p99, &figure)),
                figure.cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1}")),
            ]
        };
        self.sides.iter().map(row).collect()
    }

    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        format!("{}\n\n{}", self.title, table(&self.headings(), &self.rows()))
    }

    /// The medians, and every round, for a file.
    pub(crate) fn json(&self) -> Value {
        let side = |side: &Side| {
            let mut figures = side.median().json();
            if let Some(figures) = figures.as_object_mut() {
                figures.insert("what".to_owned(), json!(side.what));
                let rounds: Vec<Value> = side.rounds.iter().map(Figure::json).collect();
                figures.insert("rounds".to_owned(), json!(rounds));
            }
            figures
        };
        let mut all = self.settings.clone();
        if let Some(all) = all.as_object_mut() {
            let figures: Vec<Value> = self.sides.iter().map(side).collect();
            all.insert("figures".to_owned(), json!(figures));
        }
        all
    }

    /// For people.
    pub(crate) fn page(&self) -> String {
        let bars = |value: fn(&Figure) -> f64| {
            let all = |side: &Side| side.sorted(|figure| Some(value(figure)));
            let of = |value: Option<&f64>| value.copied().unwrap_or_default();
            let bars = self.sides.iter().map(|side| Bar {
                name: &side.what,
                value: value(&side.median()),
                least: of(all(side).first()),
                most: of(all(side).last()),
            });
            bars.collect::<Vec<_>>()
        };
        let rates = format!("{} (median; line: all rounds)", self.unit.to_lowercase());
        Page::new(&self.title)
            .table(&self.headings(), &self.rows())
            .bars(&rates, &bars(|figure| figure.rate))
            .bars("P99, milliseconds", &bars(|figure| figure.p99))
            .end(&self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Comparison {
        let figure = |rate, p99| Figure { rate, p50: p99 / 2.0, p99, cpu: Some(1e6 / rate) };
        let silent = |rate, p99| Figure { cpu: None, ..figure(rate, p99) };
        Comparison {
            title: "two <sides>".to_owned(),
            settings: json!({ "scenario": "limit" }),
            unit: "MESSAGES/S",
            sides: vec![
                Side {
                    what: "floor".to_owned(),
                    rounds: vec![figure(300.0, 2.0), figure(200.0, 1.0), figure(100.0, 9.0)],
                },
                Side {
                    what: "ours".to_owned(),
                    rounds: vec![silent(50.0, 4.0), silent(10.0, 6.0), silent(90.0, 5.0)],
                },
            ],
        }
    }

    #[test]
    fn the_table_tells_medians_spans_and_ratios_to_the_first() {
        let rows = comparison().rows();
        let floor = ["floor", "200", "100..300", "100 %", "1.00", "2.00", "1.0", "5000.0"];
        assert_eq!(rows[0], floor);
        assert_eq!(rows[1], ["ours", "50", "10..90", "25 %", "2.50", "5.00", "2.5", "-"]);
        assert!(comparison().table().contains("TIMES THE LIMIT'S"));
    }

    #[test]
    fn a_file_holds_every_round() {
        let json = comparison().json();
        assert_eq!(json["scenario"], "limit");
        assert_eq!(json["figures"][1]["what"], "ours");
        assert_eq!(json["figures"][1]["rounds"][1]["per_second"], 10.0);
        assert_eq!(json["figures"][1]["per_second"], 50.0);
        assert!(json["figures"][1]["cpu_us_per_delivery"].is_null());
    }

    #[test]
    fn the_page_has_a_bar_for_each_side_and_figure_and_no_foreign_markup() {
        let page = comparison().page();
        assert_eq!(page.matches("<rect").count(), 4);
        assert!(page.contains("two &lt;sides&gt;") && !page.contains("<sides>"));
        assert!(!page.contains("http://") && !page.contains("https://"), "self-contained");
    }
}
