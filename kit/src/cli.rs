//! What the command lines of both servers share: flags, signals, and the line that says where a
//! server listens.

use std::{
    error::Error, fmt::Display, future::Future, io::Write, path::PathBuf, process::ExitCode,
};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use rustix::process::Signal;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    HIDDEN, Redacted,
    scheduling::Scheduling,
    settings::{Program, Settings, SettingsError},
};

/// Flags of a server.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// Configuration file (TOML); see --print-config
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, over file and environment: --set forward.hold=5s
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// When a thread of the server that is woken may run (Linux)
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pub scheduling: Scheduling,
    /// Read the configuration, say whether it is right, and end
    #[arg(long)]
    pub check: bool,
    /// Print the default configuration with every key explained, and end
    #[arg(long)]
    pub print_config: bool,
}

/// The text under `--help` that both servers share.
pub const ENVIRONMENT_HELP: &str = "Keys come from the defaults, then the file, then the environment \
(IMAGO_SECTION__KEY, for example IMAGO_FORWARD__HOLD=5s), then --set; the later wins. Variables of \
the other program are ignored. Secrets are taken only from the file or the environment: IMAGO_CLUSTER__SECRET, IMAGO_AUTH__JWT_SECRET.\n\n\
One line of JSON on standard output says where the server listens; logs go to standard error. \
SIGTERM, Ctrl-C or SIGHUP (the terminal closes; not under nohup): leave without losing anything; a second \
SIGTERM or Ctrl-C: end at once.";

impl ServerArgs {
    /// The layers of the configuration.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load(
        &self,
        defaults: &str,
        programs: &'static [Program],
    ) -> Result<Settings, SettingsError> {
        // Not parsed with the other flags: the parser's errors show the value, which may be a secret.
        let pairs = self.set.iter().filter_map(|text| text.split_once('='));
        let pairs = pairs.filter(|(key, _)| !key.is_empty());
        let overrides: Vec<(String, String)> =
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mut settings = Settings::load(defaults, programs, self.config.as_deref(), &overrides)?;
        if overrides.len() < self.set.len() {
            settings.error("--set: expected KEY=VALUE, as in --set forward.hold=5s".to_owned());
        }
        Ok(settings)
    }
}

/// Reads a program's flags, or ends it with what is wrong with them, or with its help. A word that belongs to
/// no flag is not repeated, nor what may be secret in a URL: `--set cluster.secret VALUE` is soon written.
pub fn parse_flags<C: clap::Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| without_secrets(error).exit())
}

fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
        let Some(ContextValue::String(word)) = error.get(kind) else { continue };
        let is_stray = kind == ContextKind::InvalidArg
            && error.kind() == ErrorKind::UnknownArgument
            && !word.starts_with('-');
        let shown = match () {
            () if is_stray => HIDDEN.to_owned(),
            () if word.contains("://") => Redacted(word).to_string(),
            () => continue,
        };
        error.insert(kind, ContextValue::String(shown));
    }
    error
}

/// Runs a server to its end, in a runtime whose threads have the scheduling of the flags.
pub fn run_server<E: Into<Box<dyn Error>>>(
    args: &ServerArgs,
    server: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    schedule(args);
    match Runtime::new() {
        Ok(runtime) => exit_code(runtime.block_on(async {
            survive_file_limit();
            server.await
        })),
        Err(error) => exit_code(Err(error)),
    }
}

/// Has a write past a limit on file sizes fail, as one to a full disk does, in place of ending the process.
pub fn survive_file_limit() {
    // The handler stays, whatever becomes of the stream.
    if let Err(error) = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())) {
        print_error(format_args!(
            "warning: a limit on file sizes ends this process once it is met: {error}\n"
        ));
    }
}

/// Applies the scheduling of the flags to the calling thread, and to the threads that it starts. A server
/// works without it, so a refusal is only a warning.
pub fn schedule(args: &ServerArgs) {
    if let Err(error) = args.scheduling.apply() {
        print_error(format_args!(
            "warning: --scheduling batch: refused, threads have the normal policy: {error}\n"
        ));
    }
}

/// Cancelled at the first SIGTERM, SIGINT or SIGHUP. A second SIGTERM or SIGINT ends the process; SIGHUP,
/// of which a terminal that closes brings several, counts as none of them, and stays ignored where it was
/// ignored when the process started, as `nohup` has it.
///
/// # Errors
/// When the process may not handle signals.
pub fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = match is_ignored(Signal::HUP) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    let shutdown = CancellationToken::new();
    let cancel = shutdown.clone();
    tokio::spawn(async move {
        let mut was_asked = false;
        loop {
            let is_asked = tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = next(&mut hang_up) => false,
            };
            if is_asked && was_asked {
                tracing::warn!("second signal, ending at once");
                std::process::exit(130);
            }
            was_asked |= is_asked;
            cancel.cancel();
        }
    });
    Ok(shutdown)
}

/// The next one of these signals; pending for ever where none is listened for.
async fn next(signals: &mut Option<tokio::signal::unix::Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process ignores a signal. Not known but on Linux: there it says no.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// The set of ignored signals in a process's status (proc_pid_status(5), `SigIgn`).
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Runs the start of a server, unless it is to end before: `None`.
///
/// # Errors
/// As the start.
pub async fn unless_ended<T, E>(
    shutdown: &CancellationToken,
    start: impl Future<Output = Result<T, E>>,
) -> Result<Option<T>, E> {
    shutdown.run_until_cancelled(start).await.transpose()
}

/// How a server's process ends: an error is told in words, without a backtrace.
pub fn exit_code<E: Into<Box<dyn Error>>>(ended: Result<(), E>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    let error: Box<dyn Error> = error.into();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    print_error(format_args!("error: {text}\n"));
    ExitCode::FAILURE
}

/// Tells scripts where a server listens: one line of JSON on standard output.
pub fn announce_ports(service: &str, id: &str, ports: &[(&str, Option<impl Display>)]) {
    let mut line = serde_json::Map::new();
    line.insert("service".into(), service.into());
    line.insert("id".into(), id.into());
    for (name, address) in ports {
        if let Some(address) = address {
            line.insert((*name).into(), address.to_string().into());
        }
    }
    // The parent process may have closed the pipe: that is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{}", serde_json::Value::Object(line));
}

/// Prints a line to standard output. Unlike `println!`, it does not panic where its reader has gone, as
/// after `| head`.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => {
        $crate::cli::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Prints a line to standard error. Unlike `eprintln!`, it does not panic where that is closed, or its
/// terminal is.
#[macro_export]
macro_rules! err {
    ($($text:tt)*) => {
        $crate::cli::print_error(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Prints to standard output. Unlike `print!`, it ignores a closed pipe, as
/// after `| head`.
pub fn print(text: impl Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Prints to standard error. Unlike `eprint!`, it does not panic where that is closed, or its terminal is.
pub fn print_error(text: impl Display) {
    let _ = write!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        server: ServerArgs,
    }

    #[test]
    fn what_is_wrong_with_flags_is_told_without_what_may_be_secret() {
        for (flags, part) in [
            (&["--set", "cluster.secret", "hunter2"][..], "unexpected argument '(hidden)'"),
            (&["cluster.secret=hunter2"], "unexpected argument '(hidden)'"),
            (&["--scheduling", "consul://h?token=hunter2"], "'consul://h?token=(hidden)'"),
            (&["--scheduling", "soon"], "invalid value 'soon'"),
            (&["--sett"], "unexpected argument '--sett'"),
        ] {
            let error = Flags::try_parse_from(["gateway"].iter().chain(flags)).unwrap_err();
            let text = without_secrets(error).to_string();
            assert!(text.contains(part) && !text.contains("hunter2"), "{flags:?}: {text}");
        }
    }

    #[test]
    fn ignored_signals_are_read_from_the_status_of_a_process() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001003\n";
        assert_eq!(ignored(status), Some(0x1003));
        assert_eq!(ignored("Name:\tx\n"), None);
        assert_eq!(ignored("SigIgn:\tmany\n"), None);
        // Rust ignores it, so that a write to a closed pipe fails.
        assert!(is_ignored(Signal::PIPE) || !std::path::Path::new("/proc/self/status").exists());
        assert!(!is_ignored(Signal::TERM));
    }
}
