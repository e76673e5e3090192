//! A run as one self-contained page: figures, and pictures over time.

use std::fmt::Write;

use super::{report::Report, run::Second};

/// Size of a picture, in its own units.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 220.0;
/// Room for the words beside it.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 24.0;

/// One curve.
struct Curve<'a> {
    name: &'a str,
    colour: &'a str,
    values: Vec<f64>,
}

/// The page.
pub(super) fn page(report: &Report) -> String {
    let timeline = &report.measured.timeline;
    let of = |value: fn(&Second) -> f64| timeline.iter().map(value).collect::<Vec<_>>();
    let rate = [Curve { name: "delivered", colour: "#1668a8", values: of(|second| second.rate) }];
    let times = [
        Curve { name: "p50", colour: "#1668a8", values: of(|second| second.p50) },
        Curve { name: "p99", colour: "#c2410c", values: of(|second| second.p99) },
    ];
    let mut rows = String::new();
    for row in report.rows() {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        // Writing to a String does not fail.
        let _ = writeln!(rows, "<tr>{cells}</tr>");
    }
    let cpu: String = report.measured.cpu.iter().fold(String::new(), |mut cpu, (name, seconds)| {
        let _ = writeln!(cpu, "<li>{}: {seconds:.2} s of CPU</li>", escaped(name));
        cpu
    });
    let totals = &report.totals;
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>\
         :root {{ color-scheme: light dark }}\
         body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem }}\
         td, th {{ padding: .2rem 1rem .2rem 0; text-align: right }}\
         td:first-child, th:first-child {{ text-align: left }}\
         svg {{ width: 100%; height: auto }} svg text {{ font-size: 12px; fill: currentColor }}\
         pre {{ white-space: pre-wrap }}</style></head><body>\n\
         <h1>{title}</h1>\n<p><b>{rate_now:.0}</b> messages a second delivered, over {seconds:.0} s.</p>\n\
         <table><tr><th>milliseconds until</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n{rows}</table>\n\
         <h2>Messages delivered a second</h2>\n{rate}\n<h2>Milliseconds until delivery</h2>\n{times}\n\
         <h2>Checked</h2>\n<p>Accepted {accepted} of {sent}; delivered {delivered} of {expected}; \
         a second time {again}; out of order {late}.</p>\n<ul>{cpu}</ul>\n\
         <h2>Settings</h2>\n<pre>{settings}</pre>\n</body></html>\n",
        title = escaped(&report.title),
        rate_now = report.rate(),
        seconds = report.measured.seconds,
        rate = picture(&rate),
        times = picture(&times),
        accepted = totals.accepted,
        sent = totals.sent,
        delivered = totals.delivered,
        expected = totals.expected,
        again = report.tally.again,
        late = report.tally.late,
        settings = escaped(&format!("{:#}", report.settings)),
    )
}

/// Curves over seconds, from zero up.
fn picture(curves: &[Curve<'_>]) -> String {
    let seconds = curves.iter().map(|curve| curve.values.len()).max().unwrap_or_default();
    let top =
        round_up(curves.iter().flat_map(|curve| curve.values.iter().copied()).fold(0.0, f64::max));
    let x = |second: usize| LEFT + (WIDTH - LEFT) * second as f64 / (seconds.max(2) - 1) as f64;
    let y = |value: f64| (HEIGHT - BOTTOM) * (1.0 - value / top) + 8.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", HEIGHT + 8.0);
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let height = y(value);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"currentColor\" opacity=\".15\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            height + 4.0,
            label(value)
        );
    }
    for (number, curve) in curves.iter().enumerate() {
        let points: String =
            curve.values.iter().enumerate().fold(String::new(), |mut points, (second, value)| {
                let _ = write!(points, "{:.1},{:.1} ", x(second), y(*value));
                points
            });
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" style=\"fill:{colour}\">{}</text>",
            LEFT + 8.0 + 90.0 * number as f64,
            HEIGHT + 2.0,
            curve.name,
            colour = curve.colour
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{WIDTH}\" y=\"{:.0}\" text-anchor=\"end\">{seconds} s</text></svg>",
        HEIGHT + 2.0
    );
    svg
}

/// The next of 1, 2, 5, 10, 20, … that is not below.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * unit)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(value)
}

fn label(value: f64) -> String {
    if value >= 1000.0 { format!("{:.1} k", value / 1000.0) } else { format!("{value:.1}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_picture_is_a_round_number_that_holds_all_values() {
        for (value, top) in
            [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (4200.0, 5000.0), (5001.0, 10_000.0)]
        {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn a_picture_draws_every_second_of_every_curve() {
        let curve = |values: &[f64]| Curve { name: "a", colour: "red", values: values.to_vec() };
        let svg = picture(&[curve(&[1.0, 2.0, 3.0]), curve(&[0.0, 0.0, 0.0])]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(
            svg.split("points=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .split_whitespace()
                .count(),
            3
        );
        // Nothing measured is an empty picture, not a failure.
        assert!(picture(&[curve(&[])]).contains("<svg"));
    }

    #[test]
    fn what_looks_like_markup_is_text() {
        assert_eq!(escaped("<b>&</b>"), "&lt;b&gt;&amp;&lt;/b&gt;");
    }
}
