//! `imago`: runs a cluster, chats, looks at it, measures it.

/// `println!` for a reader who may go away, as `head` does.
macro_rules! out {
    ($($text:tt)*) => {
        imago_container::cli::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// `eprintln!` for a terminal that may close.
macro_rules! err {
    ($($text:tt)*) => {
        imago_container::cli::print_error(format_args!("{}\n", format_args!($($text)*)))
    };
}

mod bench;
mod chat;
mod dev;
mod printable;
mod serve;
mod status;
mod table;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use imago_container::cli::{exit_code, schedule, survive_file_limit};
use tokio::runtime::Builder;

use self::bench::BenchArgs;

/// Measured: see docs/performance.md.
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
    Bench(bench::BenchArgs),
    /// Run one gateway (the same as the program `gateway`)
    Gateway(serve::ServeArgs),
    /// Run one logic server (the same as the program `logic`)
    Logic(serve::ServeArgs),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
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
        Command::Bench(args) => bench::run(args).await,
        Command::Gateway(args) => serve::gateway(args).await,
        Command::Logic(args) => serve::logic(args).await,
    }
}
