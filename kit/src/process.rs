//! The metrics `process_*` that Prometheus' client libraries have, read when they are asked for.
//!
//! Where the system has no `/proc`, those that it cannot tell are left out. The `process` feature of
//! the `prometheus` crate would count CPU time in whole seconds, read all descriptors one by one, and
//! bring a second version of `rustix`.

use std::fmt::{self, Write};

use rustix::process::{Resource, getrlimit};

/// What the system tells of this process.
#[derive(Debug, Default)]
struct Process {
    cpu_seconds: Option<f64>,
    start_time: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    threads: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

/// Metrics of this process in the text format of Prometheus.
pub(crate) fn render() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = Process::read().write(&mut text);
    text
}

impl Process {
    fn read() -> Self {
        let max_fds = getrlimit(Resource::Nofile).current;
        Self { max_fds: max_fds.map(|limit| limit as f64), ..read_proc() }
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        for (name, kind, help, value) in [
            (
                "process_cpu_seconds_total",
                "counter",
                "Total user and system CPU time spent in seconds.",
                self.cpu_seconds,
            ),
            ("process_max_fds", "gauge", "Maximum number of open file descriptors.", self.max_fds),
            ("process_open_fds", "gauge", "Number of open file descriptors.", self.open_fds),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory size in bytes.",
                self.resident_bytes,
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "Start time of the process since unix epoch in seconds.",
                self.start_time,
            ),
            ("process_threads", "gauge", "Number of OS threads in the process.", self.threads),
            (
                "process_virtual_memory_bytes",
                "gauge",
                "Virtual memory size in bytes.",
                self.virtual_bytes,
            ),
        ] {
            if let Some(value) = value {
                writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
fn read_proc() -> Process {
    Process::default()
}

#[cfg(target_os = "linux")]
fn read_proc() -> Process {
    use std::{fs, sync::OnceLock};

    /// When the machine was started: told anew after the wall clock is set, which would move the start of
    /// this process.
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();

    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let field = |number| stat_field(&stat, number);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    let boot = *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    });
    Process {
        cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks),
        threads: field(20),
        start_time: boot.zip(field(22)).map(|(boot, start)| boot + start / ticks),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * page),
        open_fds: open_fds(),
        max_fds: None,
    }
}

/// A field of `/proc/self/stat` by its number in proc(5), from the fourth on: the second is a name in
/// parentheses, which may hold both spaces and parentheses.
#[cfg(target_os = "linux")]
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// Number of open file descriptors. Linux tells it as the size of the folder since 6.2; before that,
/// they are counted.
#[cfg(target_os = "linux")]
fn open_fds() -> Option<f64> {
    const FOLDER: &str = "/proc/self/fd";
    match std::fs::metadata(FOLDER).ok()?.len() {
        // The folder itself is open while it is read.
        0 => Some(std::fs::read_dir(FOLDER).ok()?.count().saturating_sub(1) as f64),
        open => Some(open as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_written_with_its_help_and_type() {
        let process = Process { cpu_seconds: Some(1.25), threads: Some(3.0), ..Process::default() };
        let mut text = String::new();
        process.write(&mut text).unwrap();
        assert_eq!(
            text,
            "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n\
             # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.25\n\
             # HELP process_threads Number of OS threads in the process.\n\
             # TYPE process_threads gauge\nprocess_threads 3\n"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 12345 4096000 250 0";
        let fields = [14, 15, 20, 22, 23, 24].map(|number| stat_field(stat, number).unwrap());
        assert_eq!(fields, [150.0, 50.0, 9.0, 12345.0, 4_096_000.0, 250.0]);
        assert_eq!(stat_field(stat, 99), None);
        assert_eq!(stat_field("", 14), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_described_as_it_is() {
        let before = Process::read();
        let held: Vec<_> =
            (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = Process::read();
        // Other tests of this process open and close files, too, but not as many.
        assert!(after.open_fds.unwrap() >= before.open_fds.unwrap() + 20.0, "{before:?} {after:?}");
        assert!(after.cpu_seconds >= before.cpu_seconds && after.threads >= Some(1.0));
        assert!(after.resident_bytes > Some(1e6) && after.virtual_bytes > after.resident_bytes);
        assert!(after.max_fds >= after.open_fds);
        let now = crate::unix_nanos() as f64 / 1e9;
        let start = after.start_time.unwrap();
        assert!((now - 3600.0..now + 2.0).contains(&start), "{start}, now {now}");
        assert_eq!(before.start_time, after.start_time);
        drop(held);
    }
}
