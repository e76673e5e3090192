//! An overload as one self-contained page: figures, and pictures over time.

use super::{
    busy::Busy,
    report::{MIB, MemoryReport, Report, WindowReport},
};
use crate::{
    measure::{recorder::HEADINGS, recovery::WINDOW},
    report::{html::Page, picture::Curve},
};

/// The page.
pub(super) fn page(report: &Report, busy: Option<&Busy>) -> String {
    let seconds = report.windows.len() as f64 * WINDOW.as_secs_f64();
    let curve = |name, value: fn(&WindowReport) -> f64| Curve {
        name,
        values: report.windows.iter().map(value).collect(),
    };
    let rates = [
        curve("accepted", |window| window.accepted),
        curve("refused", |window| window.refused),
        curve("not sent", |window| window.not_sent),
    ];
    let times = [curve("p50", |window| window.p50_ms), curve("p99", |window| window.p99_ms)];
    let of = |memory: &MemoryReport| memory.all.iter().map(|bytes| *bytes as f64 / MIB).collect();
    let memory = report.memory.iter();
    let memory: Vec<Curve<'_>> =
        memory.map(|memory| Curve { name: &memory.name, values: of(memory) }).collect();
    let due = "Milliseconds until acceptance, by when a message was due";
    let page = Page::new(&report.title)
        .table(&Report::RATES, &report.rates())
        .list(&report.remarks())
        .picture("Messages a second", &rates, seconds)
        .picture(due, &times, seconds)
        .picture("Resident memory, MiB", &memory, seconds)
        .table(&Report::MEMORY, &report.memory_rows())
        .table(&HEADINGS, &report.all_times());
    let page = match busy {
        Some(busy) => page.text(&busy.title()).table(&Busy::HEADINGS, &busy.rows(report.best.rate)),
        None => page,
    };
    page.end(&report.settings)
}

#[cfg(test)]
mod tests {
    use super::super::{busy::tests::busy, report::tests::report};
    use super::*;

    #[test]
    fn the_page_has_pictures_of_rates_times_and_memory() {
        let page = page(&report(), None);
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<polyline").count(), 3 + 2 + 1);
    }

    #[test]
    fn the_page_tells_of_the_closed_loop_beside_busy_programs() {
        let page = page(&report(), Some(&busy()));
        assert!(page.contains("Closed loop beside 2 busy programs"), "{page}");
        assert!(page.contains("<td>3</td>"), "{page}");
    }
}
