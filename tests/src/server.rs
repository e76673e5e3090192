//! A real server as a child process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use imago_local::{Ports, Process, Program};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use tokio::time::timeout;

use crate::{Monitor, eventually};

/// Path of a program that `cargo build --workspace --all-targets` made beside this test.
///
/// # Panics
/// When it is missing.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("tests are in target/<profile>/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace --all-targets`",
        path.display()
    );
    path
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Id in the registry.
    pub id: String,
    ports: Ports,
    log: PathBuf,
    process: Process,
}

impl Server {
    /// Starts a program and waits until it says where it listens.
    pub(crate) async fn start(
        program: &Path,
        id: &str,
        folder: &Path,
        settings: &[(String, String)],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = folder.join(format!("{id}-{:08x}.log", rand::random::<u32>()));
        let file = File::create(&log).expect("the temporary folder can be written");
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let program = Program { path: program, arguments: &[], settings: &settings, environment };
        let mut command = program.command();
        command.stdin(Stdio::null()).stderr(file);
        let mut process = Process::spawn(command).expect("the program can be started");
        let ports = process.ports(Duration::from_secs(30)).await;
        let ports = ports.unwrap_or_else(|error| {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("{id} did not start: {error}:\n{text}")
        });
        Self { id: id.to_owned(), ports, log, process }
    }

    /// Where it listens for `name`: `ws`, `tcp`, `link` or `monitor`.
    ///
    /// # Panics
    /// When it does not.
    pub fn address(&self, name: &str) -> String {
        let address = self.ports.get(name);
        let address = address.unwrap_or_else(|| panic!("{} has no {name} port", self.id));
        address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    }

    /// URL for WebSocket clients.
    pub fn ws(&self) -> String {
        format!("ws://{}", self.address("ws"))
    }

    /// Its monitor port.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(&self.address("monitor"))
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> &Self {
        let monitor = self.monitor();
        let what = format!("{} is ready", self.id);
        eventually(Duration::from_secs(30), &what, || async {
            (monitor.ready().await.ok()?.0 == 200).then_some(())
        })
        .await;
        self
    }

    /// Kills it at once.
    pub async fn kill9(&mut self) {
        self.process.kill().await.expect("a running process can be killed");
    }

    /// Asks it to leave.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in the middle of whatever it does (SIGSTOP): its connections stay open, and it says
    /// nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("it still runs, and may be signalled");
    }

    /// Lets it leave; gives its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.ended().await
    }

    /// Waits until it has ended; gives its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&mut self) -> Option<i32> {
        let Ok(ended) = timeout(Duration::from_secs(30), self.process.ended()).await else {
            panic!("{} does not leave in time:\n{}", self.id, self.log());
        };
        ended.expect("its status can be read").code()
    }

    /// Lets it write no file past this number of bytes; `None`: any length. As a full disk does, this makes
    /// writes fail.
    ///
    /// # Panics
    /// When it has ended.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        let pid = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let own = getrlimit(Resource::Fsize);
        let current = bytes.map_or(own.current, Some);
        let limit = Rlimit { current, maximum: own.maximum };
        prlimit(Some(pid.expect("it still runs")), Resource::Fsize, limit).expect("it is ours");
    }

    /// Returns whether it has not ended.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running().expect("its status can be read")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A frozen one is killed all the same; thawed, nothing of it waits for a parent that is gone.
        if self.process.id().is_some() {
            self.thaw();
        }
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(6000);
            eprintln!("--- log of {} ---\n{}", self.id, log.get(start..).unwrap_or(&log));
        }
    }
}
