//! Group commit: writes that wait share a transaction.

mod batch;
mod limit;
mod tail;
mod wake;
mod writer;

#[cfg(test)]
pub(super) use self::tail::{SHARE_MIN, TAIL_MAX};
pub(super) use self::{
    batch::{Batch, Row},
    tail::{Head, Unplaced, is_settled, placed_until},
    writer::Writer,
};
