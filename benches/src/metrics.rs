//! Stands in for the metrics of the crates whose sources are included: what they count does not
//! happen in a scenario.

pub(crate) fn slow_reader() {}

pub(crate) fn push_too_large() {}

pub(crate) fn input_bytes(_: f64) {}

pub(crate) fn input_evicted() {}

pub(crate) fn queued_bytes(_: f64) {}

pub(crate) fn queue_evicted() {}
