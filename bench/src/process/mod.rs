//! Processes of their own beside a scenario: idle clients, bare servers, and what else works for it.

pub(crate) mod broadcast;
pub(crate) mod burner;
pub(crate) mod child;
pub(crate) mod frames;
pub(crate) mod idlers;
pub(crate) mod idling;
pub(crate) mod relay;
pub(crate) mod sink;
