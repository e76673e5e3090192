//! An overload as one self-contained page: figures, and pictures over time.

use super::{
    super::{
        html,
        svg::{Curve, picture},
    },
    recovery::WINDOW,
    report::{Report, WindowReport},
};

const COLOURS: [&str; 6] = ["#1668a8", "#c2410c", "#3f7d20", "#8a3ffc", "#b8860b", "#6b7280"];

/// The page.
pub(super) fn page(report: &Report) -> String {
    let seconds = report.windows.len() as f64 * WINDOW.as_secs_f64();
    let curve = |name, colour, value: fn(&WindowReport) -> f64| Curve {
        name,
        colour,
        values: report.windows.iter().map(value).collect(),
    };
    let [blue, red, green, ..] = COLOURS;
    let rates = [
        curve("accepted", blue, |window| window.accepted),
        curve("refused", red, |window| window.refused),
        curve("not sent", green, |window| window.not_sent),
    ];
    let times =
        [curve("p50", blue, |window| window.p50_ms), curve("p99", red, |window| window.p99_ms)];
    let memory: Vec<Curve<'_>> = report
        .memory
        .iter()
        .zip(COLOURS.iter().cycle())
        .map(|(memory, colour)| Curve {
            name: &memory.name,
            colour,
            values: memory.all.iter().map(|bytes| *bytes as f64 / 1_048_576.0).collect(),
        })
        .collect();
    let remarks: String =
        report.remarks().iter().map(|line| format!("<li>{}</li>\n", html::escaped(line))).collect();
    let body = format!(
        "{}\n<ul>{remarks}</ul>\n<h2>Messages a second</h2>\n{}\n\
         <h2>Milliseconds until acceptance, by when a message was due</h2>\n{}\n\
         <h2>Resident memory, MiB</h2>\n{}\n{}\n{}\n<h2>Settings</h2>\n<pre>{}</pre>\n",
        html::rows(&Report::RATES, &report.rates()),
        picture(&rates, seconds),
        picture(&times, seconds),
        picture(&memory, seconds),
        html::rows(&Report::MEMORY, &report.memory_rows()),
        html::rows(&Report::TIMES, &report.all_times()),
        html::escaped(&format!("{:#}", report.settings)),
    );
    html::document(&report.title, &body)
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::report, *};

    #[test]
    fn the_page_has_pictures_of_rates_times_and_memory() {
        let page = page(&report());
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<polyline").count(), 3 + 2 + 1);
    }
}
