//! A server program as a child process: how it is started, the line that says where it listens, and its end.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, Command},
    time::timeout,
};

/// What a server program is started with. Not shown by `Debug`: its environment may hold secrets.
pub struct Program<'a> {
    /// The program's file.
    pub path: &'a Path,
    /// Words before the settings.
    pub arguments: &'a [&'a str],
    /// Keys of its configuration, and their values.
    pub settings: &'a [(&'a str, &'a str)],
    /// Variables of its environment, beside those of this process.
    pub environment: &'a [(&'a str, &'a str)],
}

impl Program<'_> {
    /// Returns the command that starts the program. Variables of this process that are settings of servers are
    /// meant for other servers: the program does not inherit them.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.path);
        command.args(self.arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IMAGO_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().copied());
        for (key, value) in self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    }
}

/// Where a server listens, as its line on standard output says.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Ports(serde_json::Value);

impl Ports {
    /// Returns the address for `name`: `ws`, `tcp`, `link` or `monitor`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

/// Why it is not known where a server listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoPorts {
    /// It has not said so in time.
    #[error("it has not said where it listens within {0:?}")]
    Late(Duration),
    /// It has ended, or closed its standard output.
    #[error("it ended before it said where it listens")]
    Ended,
    /// It has said something else.
    #[error("it said {line:?} instead of its ports")]
    Malformed {
        /// What it said.
        line: String,
        /// What is wrong with that.
        source: serde_json::Error,
    },
}

/// A running server program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        Ok(Self { child: command.spawn()? })
    }

    /// Takes its standard input, where that is piped.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Takes its standard error, where that is piped.
    pub fn take_errors(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until the server says where it listens: its first line. Then its standard output is closed.
    ///
    /// # Errors
    /// When it does not say so within `patience`.
    pub async fn ports(&mut self, patience: Duration) -> Result<Ports, NoPorts> {
        let stdout = self.child.stdout.take().ok_or(NoPorts::Ended)?;
        let mut line = String::new();
        match timeout(patience, BufReader::new(stdout).read_line(&mut line)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Err(NoPorts::Ended),
            Err(_) => return Err(NoPorts::Late(patience)),
        }
        serde_json::from_str(&line).map_err(|source| NoPorts::Malformed { line, source })
    }

    /// Returns its id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended, or may not be signalled.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, signal)?)
    }

    /// Waits until it has ended, and returns how.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Returns whether it has not ended.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Kills it, and waits until it has ended.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let arguments = ["-c", script];
        let program = Program {
            path: Path::new("/bin/sh"),
            arguments: &arguments,
            settings: &[("service.id", "x")],
            environment: &[("PLACE", "127.0.0.1:7")],
        };
        Process::spawn(program.command()).unwrap()
    }

    async fn ports(script: &str, patience: Duration) -> Result<Ports, NoPorts> {
        shell(script).ports(patience).await
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_server_says_where_it_listens_in_its_first_line() {
        // A shell names its first argument after the script `$0`.
        let said = ports(r#"echo "{\"ws\":\"$PLACE\",\"id\":\"$0 $1\"}"; sleep 60"#, LONG).await;
        let said = said.unwrap();
        assert_eq!((said.get("ws"), said.get("tcp")), (Some("127.0.0.1:7"), None));
        assert_eq!(said.get("id"), Some("--set service.id=x"));
    }

    #[tokio::test]
    async fn a_server_that_does_not_say_where_it_listens_is_told_from_one_that_says_nonsense() {
        assert!(matches!(ports("exit 3", LONG).await, Err(NoPorts::Ended)));
        let late = ports("sleep 60", Duration::from_millis(20)).await;
        assert!(matches!(late, Err(NoPorts::Late(_))), "{late:?}");
        let nonsense = ports("echo hello; sleep 60", LONG).await.unwrap_err();
        assert!(nonsense.to_string().contains("hello"), "{nonsense}");
    }

    #[tokio::test]
    async fn a_process_is_signalled_until_it_has_ended() {
        let mut process = shell("exec sleep 60");
        assert!(process.is_running().unwrap());
        process.signal(Signal::TERM).unwrap();
        assert!(!process.ended().await.unwrap().success());
        assert!(!process.is_running().unwrap());
        let refused = process.signal(Signal::TERM).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }
}
