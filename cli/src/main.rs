//! `imago`: runs a cluster, chats, looks at it, measures it.

mod chat;
mod dev;
mod serve;
mod status;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use imago_bench::BenchArgs;
use imago_kit::cli::{exit_code, schedule, survive_file_limit};
use tokio::runtime::Builder;

/// Measured: see docs/tried.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Instant-messaging cluster: run it, chat, look at it, measure it
#[derive(Debug, Parser)]
#[command(name = "imago", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine: gateways, logic servers, a registry and a store
    Dev(dev::DevArgs),
    /// Chat in the terminal
    Chat(chat::ChatArgs),
    /// Make a token for an account
    Token(token::TokenArgs),
    /// Show who is in the cluster, how grown up, and who waits for whom
    Status(status::StatusArgs),
    /// Measure a cluster
    Bench(BenchArgs),
    /// Run one gateway (the same as the program `gateway`)
    Gateway(serve::ServeArgs),
    /// Run one logic server (the same as the program `logic`)
    Logic(serve::ServeArgs),
}

fn main() -> ExitCode {
    let command = imago_kit::cli::parse_flags::<Cli>().command;
    if let Command::Gateway(args) | Command::Logic(args) = &command {
        schedule(&args.server);
    }
    let mut runtime = Builder::new_multi_thread();
    if let Command::Bench(BenchArgs { threads: Some(threads), .. }) = &command {
        runtime.worker_threads(usize::from(*threads));
    }
    let ended = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(run(command)),
        Err(error) => Err(error.into()),
    };
    exit_code(ended)
}

async fn run(command: Command) -> anyhow::Result<()> {
    survive_file_limit();
    match command {
        Command::Dev(args) => dev::run(args).await,
        Command::Chat(args) => chat::run(args).await,
        Command::Token(args) => token::run(&args),
        Command::Status(args) => status::run(args).await,
        Command::Bench(args) => imago_bench::run(args).await,
        Command::Gateway(args) => serve::gateway(args).await,
        Command::Logic(args) => serve::logic(args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every flag of a command and of all below it, hidden ones too, with the words before it.
    fn flags(command: &clap::Command, words: &[String], into: &mut Vec<Vec<String>>) {
        let words = [words, &[command.get_name().to_owned()]].concat();
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            into.push([&words[..], &[format!("--{flag}")]].concat());
        }
        for below in command.get_subcommands() {
            flags(below, &words, into);
        }
    }

    #[test]
    fn what_nobody_means_is_refused_in_words() {
        let mut all = Vec::new();
        flags(&Cli::command(), &[], &mut all);
        assert!(all.len() > 100, "{all:?}");
        for words in all {
            for value in
                ["", "-1", "18446744073709551616", "18446744073709551615s", "NaN", "x\u{0}"]
            {
                let mut line = words.clone();
                if let Some(flag) = line.last_mut() {
                    flag.push('=');
                    flag.push_str(value);
                }
                if let Err(refused) = Cli::command().try_get_matches_from(&line) {
                    assert!(refused.to_string().starts_with("error: "), "{line:?}: {refused}");
                }
            }
        }
    }
}
