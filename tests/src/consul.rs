//! A real Consul agent on free ports.

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{eventually, ports::HeldPorts};

/// A development agent; killed when dropped.
#[derive(Debug)]
pub struct ConsulAgent {
    ports: HeldPorts<3>,
    /// Its configuration files and logs.
    folder: TempDir,
    /// What kind of agent it is, as arguments.
    kind: Vec<String>,
    child: Child,
}

impl ConsulAgent {
    /// Starts an agent, and waits until it has a leader.
    ///
    /// # Panics
    /// When `consul` is not on `PATH`.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same, with more configuration, in HCL.
    ///
    /// # Panics
    /// When `consul` is not on `PATH`, or does not take the configuration.
    pub async fn start_with(configuration: &str) -> Self {
        Self::start_kind(vec!["-dev".to_owned()], configuration).await
    }

    /// Starts an agent on another machine, so to say: a client agent of this one's datacenter, with a
    /// catalog that both share and registrations of its own.
    ///
    /// # Panics
    /// When `consul` is not on `PATH`.
    pub async fn join(&self) -> Self {
        let kind = vec![
            format!("-node=node-{:08x}", rand::random::<u32>()),
            format!("-retry-join=127.0.0.1:{}", self.ports.numbers[2]),
            "-retry-interval=1s".to_owned(),
        ];
        Self::start_kind(kind, "").await
    }

    async fn start_kind(kind: Vec<String>, configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("agent.hcl"), configuration)
            .expect("the temporary folder can be written");
        let ports = HeldPorts::new();
        let child = spawn(ports.numbers, folder.path(), &kind, "consul.log");
        let mut agent = Self { ports, folder, kind, child };
        // Somebody else may have taken a port since it was found to be free.
        for _ in 0..3 {
            if agent.is_up().await {
                return agent;
            }
            agent.ports = HeldPorts::new();
            agent.child =
                spawn(agent.ports.numbers, agent.folder.path(), &agent.kind, "consul.log");
        }
        let log = std::fs::read_to_string(agent.folder.path().join("consul.log"));
        panic!("consul does not start: {}", log.unwrap_or_default());
    }

    /// `host:port` of its HTTP API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.numbers[0])
    }

    /// Puts `body` to a path of its HTTP API.
    ///
    /// # Panics
    /// When it does not answer, or with another status than 200.
    pub async fn put(&self, path: &str, body: impl Into<String>) -> String {
        self.put_as("", path, body).await
    }

    /// The same, with an ACL token.
    ///
    /// # Panics
    /// When it does not answer, or with another status than 200.
    pub async fn put_as(&self, token: &str, path: &str, body: impl Into<String>) -> String {
        let http = imago_kit::http::client().build().expect("HTTP can be set up");
        let request = http.put(format!("http://{}{path}", self.address()));
        let answer = request.header("X-Consul-Token", token).body(body.into()).send().await;
        let answer = answer.expect("the agent answers");
        let status = answer.status();
        let text = answer.text().await.expect("the agent's answer is a text");
        assert!(status.is_success(), "{path}: {status}: {text}");
        text
    }

    /// Kills it at once; a development agent forgets everything.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("a running process can be killed");
    }

    /// Asks it to end, and waits until it has. A development agent forgets everything.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub async fn stop(&mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.expect("it runs"), Signal::TERM).expect("it may be signalled");
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await;
        ended.expect("it ends in time").expect("its status can be read");
    }

    /// Starts it again on the same ports.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.child = spawn(self.ports.numbers, self.folder.path(), &self.kind, "consul-again.log");
        assert!(self.is_up().await, "consul does not start again");
    }

    /// Waits until it has a leader; false when it ended instead.
    async fn is_up(&mut self) -> bool {
        let url = format!("http://{}/v1/status/leader", self.address());
        let http = imago_kit::http::client().build().expect("HTTP can be set up");
        let has_leader = eventually(Duration::from_secs(30), "Consul has a leader", || async {
            let leader = http.get(&url).send().await.ok()?.text().await.ok()?;
            // Whoever has taken the port meanwhile answers something else.
            leader.starts_with("\"127.0.0.1:").then_some(())
        });
        tokio::select! {
            () = has_leader => true,
            _ = self.child.wait() => false,
        }
    }
}

fn spawn([http, server, serf]: [u16; 3], folder: &Path, kind: &[String], log: &str) -> Child {
    let log = std::fs::File::create(folder.join(log)).expect("the temporary folder can be written");
    let errors = log.try_clone().expect("a file can be shared");
    let mut command = Command::new("consul");
    command.arg("agent").args(kind);
    // A development agent keeps nothing, and takes no folder.
    if !kind.iter().any(|argument| argument == "-dev") {
        command.arg("-data-dir").arg(folder.join("data"));
    }
    command.args(["-bind=127.0.0.1", "-client=127.0.0.1", "-dns-port=-1"]);
    command.args(["-grpc-port=-1", "-serf-wan-port=-1", "-log-level=warn"]);
    command.arg("-config-file").arg(folder.join("agent.hcl"));
    command.arg(format!("-http-port={http}")).arg(format!("-server-port={server}"));
    command.arg(format!("-serf-lan-port={serf}"));
    command.stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(true);
    command.spawn().expect("consul is not on PATH: run scripts/install-consul")
}
