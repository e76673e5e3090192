//! A program driven through a terminal as a person would.

use std::{
    io::{Read, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::program;

/// How long a person waits.
const PATIENCE: Duration = Duration::from_secs(40);

/// `imago` in a terminal of its own; ended when dropped.
pub struct Terminal {
    screen: Arc<Mutex<String>>,
    is_closing: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    keyboard: Option<Box<dyn Write + Send>>,
    child: Box<dyn Child + Send + Sync>,
    master: Option<Box<dyn MasterPty + Send>>,
}

impl Terminal {
    /// Runs it with these arguments, without settings from the environment.
    ///
    /// # Panics
    /// When there is no terminal, or no program.
    pub fn run(folder: &Path, arguments: &[&str]) -> Self {
        let size = PtySize { rows: 40, cols: 250, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).expect("a terminal can be opened");
        let mut command = CommandBuilder::new(program("imago"));
        command.args(arguments);
        command.cwd(folder);
        command.env("TERM", "xterm");
        command.env_remove("CARGO");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IMAGO_") {
                command.env_remove(name);
            }
        }
        let child = pair.slave.spawn_command(command).expect("the program can be started");
        drop(pair.slave);
        let (screen, is_closing) = (Arc::<Mutex<String>>::default(), Arc::<AtomicBool>::default());
        let mut reader = pair.master.try_clone_reader().expect("a terminal can be read");
        let keyboard = pair.master.take_writer().expect("a terminal can be written");
        let (shown, closes) = (screen.clone(), is_closing.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..bytes]);
                shown.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                if closes.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self {
            screen,
            is_closing,
            reader: Some(reader),
            keyboard: Some(keyboard),
            child,
            master: Some(pair.master),
        }
    }

    /// Types a text.
    pub fn types(&mut self, text: &str) {
        self.types_bytes(text.as_bytes());
    }

    /// Types what need not be a text.
    ///
    /// # Panics
    /// When the terminal is closed.
    pub fn types_bytes(&mut self, bytes: &[u8]) {
        let keyboard = self.keyboard.as_mut().expect("the terminal is open");
        keyboard.write_all(bytes).expect("the terminal takes what is typed");
        keyboard.flush().expect("the terminal takes what is typed");
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the screen has shown a text.
    ///
    /// # Panics
    /// When it does not.
    pub fn shows(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(Instant::now() < until, "{text:?} is not on the screen:\n{screen}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until the program has ended; gives its exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ends(&mut self) -> u32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is a child of ours") {
                return status.exit_code();
            }
            assert!(Instant::now() < until, "still runs:\n{}", self.screen());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Ends the program without a chance to do anything.
    ///
    /// # Panics
    /// When it has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    /// Process of the program.
    pub fn pid(&self) -> Option<u32> {
        self.child.process_id()
    }

    /// The terminal's modes, as text.
    pub fn modes(&self) -> String {
        format!("{:?}", self.master.as_ref().and_then(|master| master.get_termios()))
    }

    /// Closes the terminal, as a person does who closes the window.
    pub fn close(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        // It types a line, whose echo wakes the reader.
        drop(self.keyboard.take());
        if let Some(reader) = self.reader.take() {
            // A panic of it is not one of the program.
            let _ = reader.join();
        }
        drop(self.master.take());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
