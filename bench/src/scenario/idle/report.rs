//! What idle clients cost: a table, and files.

use std::time::Duration;

use anyhow::ensure;
use imago_kit::{bounded, cli::print, out};
use imago_local::table;
use serde_json::{Value, json};

use super::watch::{Memory, Sample};
use crate::{
    measure::memory::Kernel,
    process::idlers::Told,
    report::{files::FileArgs, html::Page, picture::Curve},
};

const MIB: f64 = 1_048_576.0;
const HEADINGS: [&str; 5] = ["MIB OF PROCESS", "BEFORE", "CONNECTED", "AT THE END", "LARGEST"];

/// The figures.
pub(super) struct Report {
    pub(super) connections: usize,
    /// How long it took to connect all.
    pub(super) connecting: Duration,
    /// Of the processes.
    pub(super) names: Vec<String>,
    pub(super) before: Memory,
    /// From the moment on in which all are connected and settled.
    pub(super) samples: Vec<Sample>,
    pub(super) kernel: Kernel,
    pub(super) told: Told,
    pub(super) hold: Duration,
    pub(super) ping_interval: Duration,
}

/// Memory of one process, or of all, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summary {
    before: u64,
    first: u64,
    last: u64,
    largest: u64,
}

impl Summary {
    fn of(before: u64, samples: impl Iterator<Item = u64> + Clone) -> Self {
        Self {
            before,
            first: samples.clone().next().unwrap_or_default(),
            last: samples.clone().last().unwrap_or_default(),
            largest: samples.max().unwrap_or_default(),
        }
    }

    fn row(self, name: &str) -> Vec<String> {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
        let values = [self.before, self.first, self.last, self.largest].map(mib);
        std::iter::once(name.to_owned()).chain(values).collect()
    }

    fn json(self, name: &str) -> Value {
        json!({
            "name": name, "bytes_before": self.before, "bytes_first": self.first,
            "bytes_last": self.last, "bytes_largest": self.largest,
        })
    }
}

impl Report {
    /// Prints the figures, and writes them where they are wanted.
    ///
    /// # Errors
    /// When clients were lost: then the figures are worth nothing.
    pub(super) fn publish(&self, files: &FileArgs) -> anyhow::Result<()> {
        out!("{}\n", self.title());
        print(table(&HEADINGS, &self.rows()));
        out!("");
        for line in self.lines() {
            out!("{line}");
        }
        files.write_json(&self.json())?;
        files.write_html(|| self.page())?;
        let lost = self.told.lost;
        let why = self.told.why.as_deref().unwrap_or("their process has ended");
        ensure!(lost == 0, "{lost} of {} clients were lost: {why}", self.connections);
        Ok(())
    }

    fn title(&self) -> String {
        let held = match self.hold {
            Duration::ZERO => String::new(),
            hold => format!(", held for {}", bounded::in_words(hold)),
        };
        format!("{} idle clients{held}: {:.1} KiB each", self.connections, self.each() / 1024.0)
    }

    fn process(&self, place: usize) -> Summary {
        let of = move |memory: &Memory| memory.0.get(place).copied().unwrap_or_default();
        Summary::of(of(&self.before), self.samples.iter().map(|sample| of(&sample.memory)))
    }

    fn all(&self) -> Summary {
        Summary::of(self.before.sum(), self.samples.iter().map(|sample| sample.memory.sum()))
    }

    /// Bytes of the gateways for each client.
    fn each(&self) -> f64 {
        let all = self.all();
        all.first.saturating_sub(all.before) as f64 / self.connections as f64
    }

    fn logins_per_second(&self) -> f64 {
        self.connections as f64 / self.connecting.as_secs_f64().max(0.001)
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let names = self.names.iter().enumerate();
        let mut rows: Vec<_> = names.map(|(at, name)| self.process(at).row(name)).collect();
        rows.push(self.all().row("all"));
        rows
    }

    fn lines(&self) -> Vec<String> {
        let each = |bytes: u64| bytes as f64 / self.connections as f64 / 1024.0;
        let Kernel { buffers, slab } = self.kernel;
        vec![
            format!(
                "the kernel: {:.1} KiB each, {:.1} in buffers of TCP and {:.1} in slab; of this \
                 whole machine, so of both ends of each connection to a gateway that runs here, \
                 and of what else went on meanwhile",
                each(buffers + slab),
                each(buffers),
                each(slab)
            ),
            format!("{:.0} logins a second", self.logins_per_second()),
            format!(
                "{} pings, {} pongs, {} lost",
                self.told.pings, self.told.pongs, self.told.lost
            ),
        ]
    }

    fn settings(&self) -> Value {
        json!({
            "scenario": "idle", "connections": self.connections,
            "hold_s": self.hold.as_secs_f64(),
            "ping_interval_s": self.ping_interval.as_secs_f64(),
        })
    }

    fn json(&self) -> Value {
        let each = |bytes: u64| bytes as f64 / self.connections as f64;
        let names = self.names.iter().enumerate();
        let processes: Vec<_> = names.map(|(at, name)| self.process(at).json(name)).collect();
        let sample = |sample: &Sample| {
            let bytes = self.names.iter().cloned().zip(sample.memory.0.iter().map(|b| json!(b)));
            json!({ "s": sample.at.as_secs_f64(), "bytes": Value::Object(bytes.collect()) })
        };
        json!({
            "scenario": "idle",
            "settings": self.settings(),
            "connections": self.connections,
            "bytes_each": self.each(),
            "kernel_buffer_bytes_each": each(self.kernel.buffers),
            "kernel_slab_bytes_each": each(self.kernel.slab),
            "logins_per_second": self.logins_per_second(),
            "all": self.all().json("all"),
            "processes": processes,
            "samples": self.samples.iter().map(sample).collect::<Vec<_>>(),
            "pings": self.told.pings, "pongs": self.told.pongs, "lost": self.told.lost,
        })
    }

    fn page(&self) -> String {
        let curves: Vec<Curve<'_>> = self
            .names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let of = |sample: &Sample| sample.memory.0.get(at).copied().unwrap_or_default();
                let values = self.samples.iter().map(|sample| of(sample) as f64 / MIB).collect();
                Curve { name, values }
            })
            .collect();
        Page::new(&self.title())
            .table(&HEADINGS, &self.rows())
            .picture("Resident memory, MiB", &curves, self.hold.as_secs_f64())
            .list(&self.lines())
            .end(&self.settings())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_up_by_its_first_last_and_largest() {
        let mib = 1024 * 1024;
        let summary = Summary::of(mib, [2 * mib, 9 * mib, 3 * mib].into_iter());
        assert_eq!(summary.row("a"), ["a", "1.0", "2.0", "3.0", "9.0"]);
    }
}
