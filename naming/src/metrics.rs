//! Metrics of registries, declared in one place.

imago_kit::meters! {
    /// Shows all metrics of registries.
    pub fn show_metrics;

    static ENTRIES_SKIPPED: CounterBy = CounterBy::new(
        "imago_naming_entries_skipped_total",
        "Number of registry entries that were left out because they cannot be read, by registry.",
        "registry",
        &["consul", "gossip"],
    );
}

pub(crate) fn entry_skipped(registry: &'static str) {
    ENTRIES_SKIPPED.increment(registry, 1);
}
