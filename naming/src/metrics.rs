//! Metrics of the registries, named and described in one place.

use metrics::{counter, describe_counter};

/// Describes every metric of this crate to the installed recorder, for the `# HELP` lines.
pub fn describe_metrics() {
    describe_counter!(
        "imago_naming_entries_skipped_total",
        "Entries that cannot be read, left out of what a registry answered, by registry"
    );
}

pub(crate) fn entry_skipped(registry: &'static str) {
    counter!("imago_naming_entries_skipped_total", "registry" => registry).increment(1);
}
