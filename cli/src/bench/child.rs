//! A process of this program that works for a scenario, and ends with it.

use std::process::Stdio;

use anyhow::Context;
use tokio::{
    io::{BufReader, Lines},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
};

/// A child. It ends when its standard input does: when this is dropped, or this process is killed.
pub(super) struct Child {
    /// Killed when this is dropped, should it not end by itself.
    _process: Process,
    input: ChildStdin,
}

impl Child {
    /// Starts `imago bench` with these arguments, within the runtime; gives the lines that it says, too.
    pub(super) fn start(
        arguments: &[&str],
    ) -> anyhow::Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let mut command = Command::new(std::env::current_exe()?);
        // On as many threads as this one.
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        command.args(["bench", "--threads", &threads.to_string()]).args(arguments);
        command.kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a process of the load")?;
        let input = process.stdin.take().context("standard input is piped")?;
        let output = process.stdout.take().context("standard output is piped")?;
        let lines = tokio::io::AsyncBufReadExt::lines(BufReader::new(output));
        Ok((Self { _process: process, input }, lines))
    }

    pub(super) fn input(&mut self) -> &mut ChildStdin {
        &mut self.input
    }
}
