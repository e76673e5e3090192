//! Pages of figures, each self-contained: tables, and pictures over time.

use std::fmt::Write;

use super::{
    report::Report,
    run::Second,
    svg::{Curve, picture},
};

/// The page.
pub(super) fn page(report: &Report) -> String {
    let timeline = &report.measured.timeline;
    let of = |value: fn(&Second) -> f64| timeline.iter().map(value).collect::<Vec<_>>();
    let rate = [Curve { name: "delivered", colour: "#1668a8", values: of(|second| second.rate) }];
    let times = [
        Curve { name: "p50", colour: "#1668a8", values: of(|second| second.p50) },
        Curve { name: "p99", colour: "#c2410c", values: of(|second| second.p99) },
    ];
    let headings = ["milliseconds until", "p50", "p90", "p99", "p99.9", "max"];
    let cpu: String = report.measured.cpu.iter().fold(String::new(), |mut cpu, (name, seconds)| {
        // Writing to a String does not fail.
        let _ = writeln!(cpu, "<li>{}: {seconds:.2} s of CPU</li>", escaped(name));
        cpu
    });
    let (seconds, totals) = (report.measured.seconds, &report.totals);
    let body = format!(
        "<p><b>{rate_now:.0}</b> messages a second delivered, over {seconds:.0} s.</p>\n{table}\n\
         <h2>Messages delivered a second</h2>\n{rate}\n<h2>Milliseconds until delivery</h2>\n{times}\n\
         <h2>Checked</h2>\n<p>Accepted {accepted} of {sent}; delivered {delivered} of {expected}; \
         a second time {again}; out of order {late}.</p>\n<ul>{cpu}</ul>\n\
         <h2>Settings</h2>\n<pre>{settings}</pre>\n",
        table = rows(&headings, &report.rows()),
        rate_now = report.rate(),
        rate = picture(&rate, seconds),
        times = picture(&times, seconds),
        accepted = totals.accepted,
        sent = totals.sent,
        delivered = totals.delivered,
        expected = totals.expected,
        again = report.tally.again,
        late = report.tally.late,
        settings = escaped(&format!("{:#}", report.settings)),
    );
    document(&report.title, &body)
}

/// A whole document that needs nothing from elsewhere.
pub(super) fn document(title: &str, body: &str) -> String {
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
         <h1>{title}</h1>\n{body}</body></html>\n",
        title = escaped(title),
    )
}

/// A table.
pub(super) fn rows(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |mark: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{mark}>{}</{mark}>", escaped(cell))).collect()
    };
    let head = cells("th", &mut headings.iter().copied());
    rows.iter().fold(format!("<table><tr>{head}</tr>\n"), |mut table, row| {
        let _ = writeln!(table, "<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str)));
        table
    }) + "</table>"
}

/// Text as text, whatever it looks like.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_markup_is_text() {
        assert_eq!(escaped("<b>&</b>"), "&lt;b&gt;&amp;&lt;/b&gt;");
    }
}
