//! Group commit: writes that wait share a transaction.

mod batch;
mod bell;
mod pace;
mod tail;
mod writer;

#[cfg(test)]
pub(super) use self::tail::{SHARE_MIN, TAIL_MAX};
pub(super) use self::{
    batch::{Batch, Row},
    tail::{Head, Unplaced, is_settled, placed_until},
    writer::Writer,
};
