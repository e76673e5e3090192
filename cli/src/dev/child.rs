//! One server of the cluster as a child process.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, Command},
    time::timeout,
};

use super::state::Member;
use crate::printable::printable;

/// Time until a server has said where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for what a server that did not start has said.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Time to drain before a server is killed: more than its own `drain.timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What a server is started with.
pub(crate) struct Launch<'a> {
    pub(crate) role: &'a str,
    pub(crate) id: String,
    pub(crate) settings: Vec<(&'a str, String)>,
    pub(crate) secrets: Vec<(&'a str, String)>,
}

/// A running server. It ends when this is dropped, or when this process is killed: its standard
/// input closes then.
pub(crate) struct Server {
    pub(crate) member: Member,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts a server, and waits until it says where it listens.
    pub(crate) async fn start(launch: Launch<'_>, log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(launch.role).arg("--stop-with-stdin");
        for (name, _) in std::env::vars_os() {
            // Settings meant for other servers are not for these.
            if name.to_string_lossy().starts_with("IMAGO_") {
                command.env_remove(name);
            }
        }
        command.envs(launch.secrets.iter().map(|(name, value)| (*name, value)));
        for (key, value) in &launch.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // A group of its own: Ctrl-C is for `imago dev`, which then stops its servers.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start a server")?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("server has no standard output")?;
        let stderr = process.stderr.take().context("server has no standard error")?;
        let log_file = tokio::fs::File::create(log).await;
        let log_file = log_file.with_context(|| format!("cannot write {}", log.display()))?;
        let copying = tokio::spawn(copy_log(launch.id.clone(), stderr, log_file));

        let mut line = String::new();
        let read = timeout(START_TIMEOUT, BufReader::new(stdout).read_line(&mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            // What it said last is on its way.
            let _ = timeout(LAST_WORDS, copying).await;
            bail!("{} did not start, see {}", launch.id, log.display());
        }
        let ports: serde_json::Value = serde_json::from_str(&line)
            .with_context(|| format!("{} said {line:?} instead of its ports", launch.id))?;
        let port = |name: &str| ports.get(name).and_then(|at| at.as_str()).map(ToOwned::to_owned);
        let member = Member {
            id: launch.id,
            role: launch.role.to_owned(),
            pid: process.id().unwrap_or_default(),
            monitor: format!("http://{}", port("monitor").unwrap_or_default()),
            ws: port("ws").map(|at| format!("ws://{at}")),
            tcp: port("tcp").map(|at| format!("tcp://{at}")),
            link: port("link"),
        };
        Ok(Self { member, process, stdin })
    }

    /// Resolves when the server has ended by itself, with how it ended.
    pub(crate) async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Lets the server drain, then ends it.
    pub(crate) async fn stop(mut self) {
        drop(self.stdin.take());
        if timeout(STOP_TIMEOUT, self.process.wait()).await.is_err() {
            err!("{} does not end, killing it", self.member.id);
            // Ended meanwhile is as good.
            let _ = self.process.kill().await;
        }
    }
}

/// Keeps a server's log, and shows what people should see at once.
async fn copy_log(id: String, stderr: ChildStderr, mut file: tokio::fs::File) {
    let mut lines = BufReader::new(stderr).lines();
    let mut is_end = false;
    while let Ok(Some(line)) = lines.next_line().await {
        // The error that ends it may have several lines.
        is_end |= line.starts_with("error:");
        if is_end || line.contains(" WARN ") || line.contains(" ERROR ") {
            err!("{id}: {}", printable(&line));
        }
        let written = async {
            file.write_all(line.as_bytes()).await?;
            file.write_all(b"\n").await?;
            file.flush().await
        };
        if let Err(error) = written.await {
            err!("{id}: cannot write its log: {error}");
            return;
        }
    }
}
