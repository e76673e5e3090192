//! Stands in for the metrics of the crates whose sources are included: what they count does not
//! happen in a scenario.

pub(crate) fn slow_reader() {}

pub(crate) fn push_too_large() {}
