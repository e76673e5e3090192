//! A real Consul agent on free ports.

use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually;

/// A development agent; killed when dropped.
#[derive(Debug)]
pub struct ConsulAgent {
    ports: [u16; 3],
    folder: TempDir,
    child: Child,
}

impl ConsulAgent {
    /// Starts an agent, and waits until it has a leader.
    ///
    /// # Panics
    /// When `consul` is not on `PATH`.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let ports = free_ports();
        let child = spawn(ports, folder.path().join("consul.log"));
        let agent = Self { ports, folder, child };
        agent.until_up().await;
        agent
    }

    /// `host:port` of its HTTP API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Kills it at once; a development agent forgets everything.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("a running process can be killed");
    }

    /// Starts it again on the same ports.
    pub async fn restart(&mut self) {
        self.child = spawn(self.ports, self.folder.path().join("consul-again.log"));
        self.until_up().await;
    }

    async fn until_up(&self) {
        let url = format!("http://{}/v1/status/leader", self.address());
        let http = reqwest::Client::builder().no_proxy().build().expect("HTTP can be set up");
        eventually(Duration::from_secs(30), "Consul has a leader", || async {
            let leader = http.get(&url).send().await.ok()?.text().await.ok()?;
            (leader.len() > 4).then_some(())
        })
        .await;
    }
}

/// Ports that were free a moment ago. All are held at once, so that they differ.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("a listener has an address").port())
}

fn spawn([http, server, serf]: [u16; 3], log: PathBuf) -> Child {
    let log = std::fs::File::create(log).expect("the temporary folder can be written");
    let mut command = Command::new("consul");
    command.args(["agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-dns-port=-1"]);
    command.args(["-grpc-port=-1", "-serf-wan-port=-1", "-log-level=warn"]);
    command.arg(format!("-http-port={http}")).arg(format!("-server-port={server}"));
    command.arg(format!("-serf-lan-port={serf}"));
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("consul is not on PATH: run scripts/install-consul")
}
