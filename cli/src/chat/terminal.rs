//! The state of the user's terminal, given back as it was.

use std::{
    io::{IsTerminal, stdin},
    sync::Mutex,
};

use imago_kit::cli::print;
use rustix::{
    process::getpgrp,
    termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp, tcsetattr},
};

/// Ends bracketed paste, goes to the start of the line, and clears it.
const LEAVE: &str = "\x1b[?2004l\r\x1b[K";

/// The terminal as it was before lines were edited in it. The thread that edits may be in the midst of
/// a line when the chat ends.
pub(super) struct Terminal {
    before: Mutex<Option<Termios>>,
}

// === impl Terminal ===

impl Terminal {
    /// Remembers how it is; a pipe has no state.
    pub(super) fn remember() -> Self {
        let input = stdin();
        let before = if input.is_terminal() { tcgetattr(&input).ok() } else { None };
        Self { before: Mutex::new(before) }
    }

    /// Gives it back; a second time does nothing.
    pub(super) fn restore(&self) {
        let before = self.before.lock().map(|mut before| before.take());
        let Ok(Some(before)) = before else { return };
        // In the background, the system would stop this process for it.
        if tcgetpgrp(stdin()).ok() == Some(getpgrp()) {
            // It may be closed.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
            print(LEAVE);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Drops what was typed and is not read yet.
pub(super) fn forget_typed() {
    // It may be closed.
    let _ = tcflush(stdin(), QueueSelector::IFlush);
}
