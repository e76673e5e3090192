//! Advisory locks that all logic servers of a database share.
//!
//! The numbers are arbitrary ("imago" in ASCII, and a counter), the same in every version.

/// While the schema changes.
pub(super) const SCHEMA: i64 = 0x69_6d_61_67_6f_01;

/// While message ids and sequences are given out, until they are committed: so ids rise in the
/// order of commits, whichever server writes. PostgreSQL makes a commit visible before it lets go
/// of the transaction's locks (src/backend/access/transam/README, "Transaction and Subtransaction
/// Locks"), so no reader finds an id before a lower one.
pub(super) const WRITES: i64 = 0x69_6d_61_67_6f_02;
