//! A server of ours that is no part of Imago, as a process of its own.

use std::process::Stdio;

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::super::cpu::Watched;

/// A process of this program that ends when its standard input does: with this one.
pub(super) struct Process {
    child: Child,
    pub(super) address: String,
}

impl Process {
    /// Starts one, and waits until it says where it listens.
    pub(super) async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "serve-limit"]).args(arguments).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).await?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    /// To watch it by; `None` once it has ended.
    pub(super) fn watched(&self, name: &str) -> Option<Watched> {
        self.child.id().map(|pid| Watched { name: name.to_owned(), pid })
    }
}
