//! Group commit: one thread writes, and the writes that wait share its transactions.
//!
//! ```text
//!  tasks of the runtime                             thread "store-writer"
//!  ────────────────────                             ─────────────────────
//!  Writer::run ──▶ queue, bounded ───────────────▶ ┌ 1. takes a write, BEGIN IMMEDIATE
//!       │                                          │ 2. reads what other processes have written
//!       └──▶ WakeCoalescer ── unpark ────────────▶ │ 3. runs writes while BatchLimit admits more:
//!            once the ready tasks have run         │      INSERT INTO message …
//!                                                  │ 4. moves a share of the tail into the index
//!  requesters ◀── Completions ◀─────────────────── └ 5. COMMIT, one fdatasync of the log
//! ```
//!
//! # Waking
//!
//! A write wakes the thread through a task of the runtime, which yields first. All tasks that are ready
//! queue their writes before the thread runs, so that these share a commit, and the thread does not take
//! the processor from them ([`wake`]). Outcomes go back the same way: a task tells them, because a waker
//! that is called within the runtime costs no system call.
//!
//! # What shares a commit
//!
//! Writes that arrive while others run join them. [`BatchLimit`](limit::BatchLimit) leaves a quarter of
//! those that wait to the next commit: if all shared one, all clients would wait for the same commit, then
//! all go on at once, and one processor would be idle in between. On a slow disk the limit is what can be
//! run while one commit reaches the disk. A write that fails is taken out, and the others are run again.
//!
//! # What is written when
//!
//! | table | read by | written |
//! | --- | --- | --- |
//! | `message` | message id | with the message |
//! | `place` | conversation and sequence | with a share |
//! | `message_request` | key of the request | with a share |
//! | `conversation.last_seq`, `last_id` | conversation | with a share |
//! | `placed.until` | | with the last share of a run |
//!
//! Messages are appended at the end of `message`, where those of one commit are neighbours. Their rows in
//! the other tables, the *index*, each change a page of their own. The writer therefore keeps the messages
//! past `placed.until`, the *unindexed tail*, in memory. Once the tail has [`TAIL_MAX`](tail::TAIL_MAX)
//! messages it is sealed and sorted, and each commit writes a share of that *run*, in the order of the
//! tables ([`tail`]). In one piece, a run would hold up all senders for 4 to 6 ms (`docs/tried.md`,
//! "What made it so").
//!
//! # What a crash leaves, and what another process finds
//!
//! Every commit is atomic, so the file always has all messages that were answered, and an index that is
//! complete up to `placed.until`. Past it, rows of the index may be there or not: they are inserted if
//! absent, and a different row under the same key fails the transaction. The tail in memory is only a cache
//! of the file. A process that opens the file, or finds by `PRAGMA data_version` that another one has
//! written, reads the messages past the ones it knows within its own transaction; after a rollback the
//! cache is discarded.
//!
//! Reads by message id need no index. Reads by conversation have the writer index the whole tail first, or,
//! where that fails or takes too long, add the tail themselves (`overlay.rs`).

mod batch;
mod heads;
mod limit;
mod tail;
mod wake;
mod writer;

#[cfg(test)]
pub(super) use self::tail::{SHARE_MIN, TAIL_MAX};
pub(super) use self::{
    batch::{Batch, Row},
    heads::{Head, UnindexedHeads, indexed_until, is_indexed},
    writer::Writer,
};
