//! Limits of texts, in characters, and of lists (docs/wire.md, "Groups").

use imago_proto::Limits;

use crate::Reject;

pub(super) const BODY_MAX: usize = 5000;
pub(super) const EXTRA_MAX: usize = 500;
pub(super) const ACCOUNT_MAX: usize = 60;
pub(super) const GROUP_ID_MAX: usize = 30;
pub(super) const GROUP_NAME_MAX: usize = 50;
pub(super) const AVATAR_MAX: usize = 200;
pub(super) const INTRODUCTION_MAX: usize = 300;
/// Characters of a client's own id of a request.
pub(super) const CLIENT_ID_MAX: usize = 64;
/// Cursors in one request.
pub(super) const CURSORS_MAX: usize = 1000;
/// Bytes of an answer that fit into one frame with its header.
pub(super) const ANSWER_MAX: usize = Limits::OUTBOUND_PAYLOAD - 4096;

/// Checks the limit of a field.
pub(super) fn within(field: &str, text: &str, limit: usize) -> Result<(), Reject> {
    let len = text.chars().count();
    if len > limit {
        return Err(Reject::invalid(format!(
            "{field}: expected at most {limit} characters, got {len}"
        )));
    }
    Ok(())
}

/// Checks the limit of a field that must not be empty.
pub(super) fn named(field: &str, text: &str, limit: usize) -> Result<(), Reject> {
    if text.is_empty() {
        return Err(Reject::invalid(format!(
            "{field}: expected 1 to {limit} characters, got none"
        )));
    }
    within(field, text, limit)
}

/// Checks the limit of a list.
pub(super) fn at_most(field: &str, len: usize, limit: usize) -> Result<(), Reject> {
    if len > limit {
        return Err(Reject::invalid(format!("{field}: expected at most {limit}, got {len}")));
    }
    Ok(())
}

/// Returns the wanted number of entries; 0 asks for the default.
pub(super) fn wanted(
    field: &str,
    number: u32,
    default: usize,
    most: usize,
) -> Result<usize, Reject> {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    at_most(field, number, most)?;
    Ok(if number == 0 { default } else { number })
}
