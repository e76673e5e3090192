//! One server of the cluster as a child process.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use imago_kit::err;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStderr, ChildStdin},
    time::timeout,
};

use crate::{
    printable::printable,
    process::{NoPorts, Process, Program},
    state::{DevState, Member},
};

/// Time until a server has said where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for what a server that did not start has said.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Time to drain before a server is killed: more than its own `drain.timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What a server is started with. Not shown by `Debug`: it holds secrets.
pub struct Launch<'a> {
    /// `gateway` or `logic`.
    pub role: &'a str,
    /// Id in the registry.
    pub id: String,
    /// Keys of its configuration.
    pub settings: Vec<(&'a str, String)>,
    /// Variables of its environment: other users of this machine do not see them.
    pub secrets: Vec<(&'a str, String)>,
}

impl Launch<'_> {
    /// Returns what starts a logic server of this cluster.
    pub fn logic(state: &DevState, id: String) -> Self {
        // URLs may have passwords in them, which other users of this machine must not see.
        let mut secrets = vec![
            ("IMAGO_CLUSTER__SECRET", state.cluster_secret.clone()),
            ("IMAGO_NAMING__URL", state.naming.clone()),
            ("IMAGO_STORE__URL", state.store.clone()),
        ];
        secrets.extend(state.directory.iter().map(|url| ("IMAGO_DIRECTORY__URL", url.clone())));
        Self {
            role: "logic",
            settings: vec![
                ("service.id", id.clone()),
                ("listen.link", "127.0.0.1:0".to_owned()),
                // A cluster to try out, and to measure on this machine.
                ("groups.members_max", "100000".to_owned()),
            ],
            secrets,
            id,
        }
    }
}

/// A running server. It ends when this is dropped, or when this process is killed: its standard
/// input closes then.
#[derive(Debug)]
pub struct Server {
    /// What others find it by.
    pub member: Member,
    process: Process,
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts a server, and waits until it says where it listens.
    ///
    /// # Errors
    /// When it does not start, or its log cannot be written.
    pub async fn start(launch: Launch<'_>, log: &Path) -> anyhow::Result<Self> {
        let program = Program {
            path: &std::env::current_exe()?,
            arguments: &[launch.role, "--stop-with-stdin"],
            settings: &pairs(&launch.settings),
            environment: &pairs(&launch.secrets),
        };
        let mut command = program.command();
        // A group of its own: Ctrl-C is for `imago dev`, which then stops its servers.
        command.process_group(0).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command).context("cannot start a server")?;
        let stdin = process.take_input();
        let stderr = process.take_errors().context("server has no standard error")?;
        let log_file = tokio::fs::File::create(log).await;
        let log_file = log_file.with_context(|| format!("cannot write {}", log.display()))?;
        let copying = tokio::spawn(copy_log(launch.id.clone(), stderr, log_file));

        let ports = match process.ports(START_TIMEOUT).await {
            Ok(ports) => ports,
            Err(NoPorts::Malformed { line, source }) => {
                let said = format!("{} said {line:?} instead of its ports", launch.id);
                return Err(anyhow::Error::new(source).context(said));
            }
            Err(NoPorts::Late(_) | NoPorts::Ended) => {
                // What it said last is on its way.
                let _ = timeout(LAST_WORDS, copying).await;
                bail!("{} did not start, see {}", launch.id, log.display());
            }
        };
        let port = |name: &str| ports.get(name).map(ToOwned::to_owned);
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
    pub async fn ended(&mut self) -> String {
        match self.process.ended().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Lets the server drain, then ends it.
    pub async fn stop(mut self) {
        drop(self.stdin.take());
        if timeout(STOP_TIMEOUT, self.process.ended()).await.is_err() {
            err!("{} does not end, killing it", self.member.id);
            // Ended meanwhile is as good.
            let _ = self.process.kill().await;
        }
    }
}

/// The pairs, borrowed.
fn pairs<'l>(owned: &'l [(&'l str, String)]) -> Vec<(&'l str, &'l str)> {
    owned.iter().map(|(key, value)| (*key, value.as_str())).collect()
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
