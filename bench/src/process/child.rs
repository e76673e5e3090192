//! A process of this program that works for a scenario, and ends with it.

use std::{process::Stdio, time::Duration};

use anyhow::Context;
use tokio::{
    io::{BufReader, Lines},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::measure::cpu::Watched;

/// How long a server may take until it says where it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child. It ends when its standard input does: when this is dropped, or this process is killed.
pub(crate) struct Child {
    /// Killed when this is dropped, should it not end by itself.
    process: Process,
    input: ChildStdin,
}

impl Child {
    /// Starts `imago bench` with these arguments, on as many threads as this one; gives the lines
    /// that it says, too.
    pub(crate) fn start(
        arguments: &[&str],
    ) -> anyhow::Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        Self::spawn(&[&["--threads", &threads.to_string()], arguments].concat())
    }

    /// Starts one that stands where a server does, which runs on all cores whatever the load may
    /// take; gives its address, which is what it says first.
    pub(crate) async fn listening(arguments: &[&str]) -> anyhow::Result<(Self, String)> {
        let (child, mut lines) = Self::spawn(arguments)?;
        let said = timeout(PATIENCE, lines.next_line()).await;
        let address = said.with_context(|| format!("{arguments:?} is silent"))??;
        Ok((child, address.with_context(|| format!("{arguments:?} has ended"))?))
    }

    fn spawn(arguments: &[&str]) -> anyhow::Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench").args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a process of the load")?;
        let input = process.stdin.take().context("standard input is piped")?;
        let output = process.stdout.take().context("standard output is piped")?;
        let lines = tokio::io::AsyncBufReadExt::lines(BufReader::new(output));
        Ok((Self { process, input }, lines))
    }

    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        &mut self.input
    }

    /// To watch it by; `None` once it has ended.
    pub(crate) fn watched(&self, name: &str) -> Option<Watched> {
        self.process.id().map(|pid| Watched { name: name.to_owned(), pid })
    }
}
