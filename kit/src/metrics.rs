//! Metrics of every program, declared in one place.

crate::meters! {
    /// Shows all metrics of this crate.
    pub(crate) fn show;

    static BUILD: Info =
        Info::new("imago_build_info", "Version and, where known, commit of this build; always 1.");
    static LOG_LEFT_OUT: Counter = Counter::new(
        "imago_log_lines_left_out_total",
        "Number of log lines of libraries left out because others of their cause had just been written.",
    );
}

/// Tells which build runs.
pub(crate) fn build(labels: &[(&'static str, &'static str)]) {
    BUILD.tell(labels);
}

pub(crate) fn log_line_left_out() {
    LOG_LEFT_OUT.increment(1);
}
