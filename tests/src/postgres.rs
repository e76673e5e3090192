//! A real PostgreSQL server on a free port.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Blocking, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::OnceCell,
    time::timeout,
};

use crate::{eventually, ports::HeldPorts};

/// Runs the server until standard input ends, so that it ends with this program, however that ends;
/// then stops it at once, and removes the folder of one that nobody drops.
const KEEPER: &str = r#"
exec 3<&0
trap '' INT TERM
"$1" -D "$2" -p "$3" -k "" -h 127.0.0.1 $4 </dev/null 3<&- &
server=$!
(read -r _ <&3; kill -INT $server 2>/dev/null) &
reader=$!
wait $server
kill $reader 2>/dev/null
if [ -n "$5" ]; then rm -rf "$5"; fi
"#;

/// Settings of all servers: no more memory than tests need.
const SETTINGS: &str = "-c shared_buffers=32MB -c max_connections=200 -c log_min_messages=warning";

/// A server of its own; stopped when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    _held: HeldPorts<1>,
    folder: PathBuf,
    /// Removes the folder; not of the shared one, whose keeper does.
    _owned: Option<TempDir>,
    is_shared: bool,
    keeper: Child,
    /// The keeper reads from it.
    _stdin: Option<ChildStdin>,
    databases: AtomicUsize,
}

static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();

impl PostgresServer {
    /// The server that all tests of this program share. Not durable, and fast.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::launch(true)).await
    }

    /// Starts one with the durable defaults.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    pub async fn start() -> Self {
        Self::launch(false).await
    }

    async fn launch(is_shared: bool) -> Self {
        let owned = tempfile::tempdir().expect("a temporary folder can be made");
        let (folder, owned) = match is_shared {
            true => (owned.keep(), None),
            false => (owned.path().to_owned(), Some(owned)),
        };
        initialize(&folder).await;
        // Somebody else may take a port after it was found to be free.
        for _ in 0..3 {
            let held = HeldPorts::new();
            let [port] = held.numbers;
            let (keeper, stdin) = keep(&folder, port, is_shared);
            let databases = AtomicUsize::new(0);
            let (folder, is_up) = (folder.clone(), is_up(port));
            let mut server = Self {
                port,
                _held: held,
                folder,
                _owned: None,
                is_shared,
                keeper,
                _stdin: stdin,
                databases,
            };
            tokio::select! {
                () = is_up => {
                    server._owned = owned;
                    return server;
                }
                _ = server.keeper.wait() => {}
            }
        }
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start: {log}");
    }

    /// URL of a new, empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn database(&self) -> String {
        let name = format!("imago{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run_sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        format!("postgres://imago@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs statements in a database; gives what they print.
    ///
    /// # Panics
    /// When one of them fails.
    pub async fn run_sql(&self, database: &str, sql: &str) -> String {
        let ran = Command::new(program("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "imago", "-d", database])
            .args(["-v", "ON_ERROR_STOP=1", "-X", "-q", "-A", "-t", "-c", sql])
            .output()
            .await
            .expect("psql runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// Stops it as an administrator would who is in a hurry, and starts it again on the same port.
    ///
    /// # Panics
    /// When it does not end, or not start again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Ends it; connections are cut.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&mut self) {
        self._stdin = None;
        let ended = timeout(Duration::from_secs(60), self.keeper.wait()).await;
        ended.expect("it ends in time").expect("its status can be read");
    }

    /// Kills it at once; connections are cut, and nothing is written any more.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill9(&mut self) {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid"));
        let file = file.expect("a server that runs has a file with its number");
        let pid = file.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("the first line is its number"), Signal::KILL).expect("it runs");
        // Those who served connections notice that it is gone.
        self.stop().await;
    }

    /// Starts it after [`stop`](Self::stop) or [`kill9`](Self::kill9).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        // The last of those who were killed may hold its memory for a moment.
        for _ in 0..20 {
            (self.keeper, self._stdin) = keep(&self.folder, self.port, self.is_shared);
            tokio::select! {
                () = is_up(self.port) => return,
                _ = self.keeper.wait() => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start again: {log}");
    }
}

/// A program of the newest version that is installed; Debian keeps most of them off `PATH`.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let path = version.path().join("bin").join(name);
            let number = version.file_name().to_str()?.parse().ok()?;
            path.is_file().then_some((number, path))
        })
        .collect();
    found.sort();
    found.pop().map_or_else(|| name.into(), |(_, path)| path)
}

/// PostgreSQL does not run as root: as whom it runs then.
pub(crate) fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("no user postgres: run scripts/install-postgres").split(':');
    let mut number = |place| fields.nth(place).and_then(|field| field.parse().ok());
    Some((number(2).expect("a user has a number"), number(0).expect("a user has a group")))
}

/// A database cluster in a folder, whose only user needs no password.
async fn initialize(folder: &Path) {
    let data = folder.join("data");
    fs::create_dir(&data).expect("the temporary folder can be written");
    let mut command = Command::new(program("initdb"));
    command.args(["-U", "imago", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    command.arg("-D").arg(&data).current_dir("/");
    if let Some((user, group)) = user() {
        for path in [folder, &data] {
            std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may");
        }
        command.uid(user).gid(group);
    }
    let made = command.output().await.expect("no initdb: run scripts/install-postgres");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
}

fn keep(folder: &Path, port: u16, is_shared: bool) -> (Child, Option<ChildStdin>) {
    let log = fs::File::create(folder.join("log")).expect("the temporary folder can be written");
    let errors = log.try_clone().expect("a file can be shared");
    let mut settings = SETTINGS.to_owned();
    if is_shared {
        settings.push_str(" -c fsync=off -c full_page_writes=off");
    }
    let mut command = Blocking::new("/bin/sh");
    command.args(["-c", KEEPER, "keeper"]).arg(program("postgres")).arg(folder.join("data"));
    command.arg(port.to_string()).arg(settings);
    command.arg(if is_shared { folder.as_os_str() } else { "".as_ref() });
    command.stdin(Stdio::piped()).stdout(log).stderr(errors).current_dir("/");
    let mut command = Command::from(command);
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    let mut keeper = command.spawn().expect("a shell runs");
    let stdin = keeper.stdin.take();
    (keeper, stdin)
}

/// Waits until the server takes connections.
async fn is_up(port: u16) {
    eventually(Duration::from_secs(60), "PostgreSQL takes connections", || async {
        let port = port.to_string();
        let asked = Command::new(program("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", "imago"])
            .status();
        asked.await.ok()?.success().then_some(())
    })
    .await;
}
