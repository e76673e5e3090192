//! Lines from the user, and lines to the user that do not tear what is being typed.

use std::{
    io::{ErrorKind, IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use imago_kit::err;
use rustyline::{DefaultEditor, ExternalPrinter, error::ReadlineError};
use tokio::sync::mpsc;

use super::{
    piped::next_line,
    terminal::{Terminal, forget_typed},
    text::printable,
};

/// Lines typed ahead that may wait. Overflow policy: the terminal waits.
const TYPED_AHEAD: usize = 64;

/// What the user did.
pub(super) enum Line {
    /// Typed a line.
    Text(String),
    /// Typed something else: this is wrong with it.
    Unusable(String),
    /// Wants to leave.
    End,
}

/// The user's terminal, or a pipe in its place.
pub(super) struct Input {
    prompt: Arc<Mutex<String>>,
    /// Tells the reader that a line was handled: only then is the next prompt known.
    handled: SyncSender<()>,
    printer: Mutex<Box<dyn FnMut(String) + Send>>,
    terminal: Terminal,
}

impl Input {
    /// Starts to read. With a terminal, lines are edited; from a pipe, they are taken as they are.
    pub(super) fn start(
        account: &str,
        to: Option<&str>,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Line>)> {
        let terminal = Terminal::remember();
        let (sender, lines) = mpsc::channel(TYPED_AHEAD);
        let (handled, go_on) = sync_channel(1);
        let prompt = Arc::new(Mutex::new(prompt(account, to)));
        let printer: Box<dyn FnMut(String) + Send> = if std::io::stdin().is_terminal() {
            let mut editor = DefaultEditor::new()?;
            let mut printer = editor.create_external_printer()?;
            let prompt = prompt.clone();
            thread::spawn(move || edit(editor, &prompt, &sender, &go_on));
            Box::new(move |line| {
                // The terminal is gone only when the chat is.
                let _ = printer.print(line + "\n");
            })
        } else {
            thread::spawn(move || read(&sender, &go_on));
            Box::new(|line| {
                // Whoever reads the pipe may have left.
                let _ = writeln!(std::io::stdout(), "{line}");
            })
        };
        Ok((Self { prompt, handled, printer: Mutex::new(printer), terminal }, lines))
    }

    /// Prints a line above the one being typed.
    pub(super) fn show(&self, line: &str) {
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        printer(line.to_owned());
    }

    /// Gives the terminal back as it was, also in the midst of a line.
    pub(super) fn restore(&self) {
        self.terminal.restore();
    }

    /// The last line was handled: the next one may be asked for.
    pub(super) fn go_on(&self) {
        // A reader that has ended asks for nothing.
        let _ = self.handled.try_send(());
    }

    pub(super) fn set_prompt(&self, account: &str, to: Option<&str>) {
        *self.prompt.lock().unwrap_or_else(PoisonError::into_inner) = prompt(account, to);
    }
}

fn prompt(account: &str, to: Option<&str>) -> String {
    let account = printable(account);
    match to {
        Some(to) => format!("{account} to {to}> "),
        None => format!("{account}> "),
    }
}

fn edit(
    mut editor: DefaultEditor,
    prompt: &Mutex<String>,
    lines: &mpsc::Sender<Line>,
    go_on: &Receiver<()>,
) {
    loop {
        let prompt = prompt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = match editor.readline(&prompt) {
            Ok(line) => {
                // A history that is full forgets the oldest line.
                let _ = editor.add_history_entry(&line);
                Line::Text(line)
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => Line::End,
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                // Else the rest of the line would be sent as one of its own.
                forget_typed();
                Line::Unusable("what was typed is dropped: expected UTF-8".to_owned())
            }
            Err(ReadlineError::Signal(_)) => continue,
            Err(error) => {
                err!("cannot read from the terminal: {error}");
                Line::End
            }
        };
        let ends = matches!(line, Line::End);
        if lines.blocking_send(line).is_err() || ends || go_on.recv().is_err() {
            return;
        }
    }
}

fn read(lines: &mpsc::Sender<Line>, go_on: &Receiver<()>) {
    let mut input = std::io::stdin().lock();
    loop {
        let line = match next_line(&mut input) {
            Ok(Some(Ok(line))) => Line::Text(line),
            Ok(Some(Err(wrong))) => Line::Unusable(wrong),
            Ok(None) => break,
            Err(error) => {
                err!("cannot read what is typed: {error}");
                break;
            }
        };
        if lines.blocking_send(line).is_err() || go_on.recv().is_err() {
            return;
        }
    }
    // The chat may have ended before its input.
    let _ = lines.blocking_send(Line::End);
}
