//! A real Redis server on a free port.

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{eventually, ports::HeldPorts};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis that keeps nothing; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    ports: HeldPorts<2>,
    is_cluster: bool,
    child: Child,
    /// Its log, and what it knows of its cluster.
    folder: TempDir,
}

impl RedisServer {
    /// Starts a server, and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is not on `PATH`.
    pub async fn start() -> Self {
        Self::start_as(false).await
    }

    /// The same as a cluster of one node, which has all slots.
    ///
    /// # Panics
    /// When `redis-server` is not on `PATH`.
    pub async fn start_cluster() -> Self {
        let server = Self::start_as(true).await;
        server.ask("CLUSTER ADDSLOTSRANGE 0 16383").await.expect("it answers");
        server.is_whole().await;
        server
    }

    async fn start_as(is_cluster: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let ports = HeldPorts::new();
        let child = spawn(ports.numbers, is_cluster, folder.path());
        let mut server = Self { ports, is_cluster, child, folder };
        // Somebody else may have taken a port since it was found to be free.
        for _ in 0..3 {
            if server.is_up().await {
                return server;
            }
            server.ports = HeldPorts::new();
            server.child = spawn(server.ports.numbers, is_cluster, server.folder.path());
        }
        panic!("redis-server does not start: {}", server.log());
    }

    /// URL for the directory of logic servers.
    pub fn url(&self) -> String {
        let scheme = if self.is_cluster { "redis+cluster" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.ports.numbers[0])
    }

    /// Kills it at once; it forgets everything but its place in the cluster.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("a running process can be killed");
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        // A connection of somebody else may hold the port for a moment.
        let what = "redis-server starts again";
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.child = spawn(self.ports.numbers, self.is_cluster, self.folder.path());
            if self.is_up().await {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{what}: {}", self.log());
        }
        if self.is_cluster {
            self.is_whole().await;
        }
    }

    /// Lets it hang, with all connections open.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.expect("it runs"), signal).expect("it may be signalled");
    }

    /// Sends a command, its words separated by spaces, and gives the answer as it is on the wire;
    /// `None` when there is none.
    pub async fn ask(&self, command: &str) -> Option<String> {
        ask(self.ports.numbers[0], command).await
    }

    /// Waits until it answers; false when it ended instead.
    async fn is_up(&mut self) -> bool {
        // Somebody else's server may have got the port.
        let own = format!("process_id:{}\r", self.child.id().unwrap_or_default());
        let port = self.ports.numbers[0];
        let answers = eventually(PATIENCE, "redis-server answers", || async {
            ask(port, "INFO server").await.filter(|info| info.contains(&own)).map(|_| ())
        });
        tokio::select! {
            () = answers => true,
            _ = self.child.wait() => false,
        }
    }

    /// Waits until it serves as a cluster.
    async fn is_whole(&self) {
        eventually(PATIENCE, "the Redis cluster serves", || async {
            let info = self.ask("CLUSTER INFO").await?;
            info.contains("cluster_state:ok").then_some(())
        })
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("redis.log")).unwrap_or_default()
    }
}

async fn ask(port: u16, command: &str) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.ok().filter(|length| *length > 0)?;
        answer.truncate(length);
        String::from_utf8(answer).ok()
    };
    timeout(PATIENCE, asked).await.ok()?
}

fn spawn([port, bus]: [u16; 2], is_cluster: bool, folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("redis.log"));
    let log = log.expect("the temporary folder can be written");
    let errors = log.try_clone().expect("a file can be shared");
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--port").arg(port.to_string()).arg("--dir").arg(folder);
    if is_cluster {
        command.args(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
        command.arg("--cluster-port").arg(bus.to_string());
    }
    command.stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(true);
    command.spawn().expect("redis-server is not on PATH: run scripts/install-redis")
}
