//! `imago dev`: a whole cluster on this machine, gone with Ctrl-C.

mod seed;
mod welcome;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use futures::{StreamExt, future::select_all, stream::FuturesUnordered};
use imago_container::monitor::MonitorConfig;
use imago_kit::{FILES_RESERVED, SecretUrl, cli::shutdown_on_signal, err, out, raise_open_files};
use imago_local::{DATA_DIR, DevState, Launch, Member, Server, lock};
use indicatif::ProgressBar;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use self::seed::Seed;

/// How long the cluster may take to grow up.
const GROW_TIMEOUT: Duration = Duration::from_secs(60);
/// Open files that this program takes for each server, and for all else.
const FILES_EACH: u64 = 8;
const FILES_ELSE: u64 = 64;

/// Flags of `imago dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago dev --gateways 3 --logics 2\n\n\
Then, in another terminal: imago chat --as alice, imago status, imago bench talk.")]
pub(crate) struct DevArgs {
    /// How many gateways
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    gateways: u16,
    /// How many logic servers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    logics: u16,
    /// Where messages and logs are kept
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data: PathBuf,
    /// WebSocket port of the first gateway; the next ones follow. Free ones otherwise
    #[arg(long, value_name = "PORT")]
    ws_port: Option<u16>,
    /// TCP port of the first gateway; the next ones follow. Free ones otherwise
    #[arg(long, value_name = "PORT")]
    tcp_port: Option<u16>,
    /// Registry to use in place of gossip, for example consul://127.0.0.1:8500; a token is better
    /// given in IMAGO_NAMING__URL
    #[arg(long, value_name = "URL", env = "IMAGO_NAMING__URL", hide_env_values = true)]
    naming: Option<SecretUrl>,
    /// Store to use in place of a SQLite file, for example postgres://imago@127.0.0.1/imago; a
    /// password is better given in IMAGO_STORE__URL
    #[arg(long, value_name = "URL", env = "IMAGO_STORE__URL", hide_env_values = true)]
    store: Option<SecretUrl>,
    /// Where sessions are kept beside the servers' memory, for example redis://127.0.0.1; a
    /// password is better given in IMAGO_DIRECTORY__URL
    #[arg(long, value_name = "URL", env = "IMAGO_DIRECTORY__URL", hide_env_values = true)]
    directory: Option<SecretUrl>,
    /// How much the servers log, for example debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
}

/// Runs the cluster until Ctrl-C, or until one of its servers has ended.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    // The servers inherit it.
    let open_files = raise_open_files();
    let needed = FILES_ELSE + FILES_EACH * u64::from(args.gateways + args.logics);
    if let Some(limit) = open_files.filter(|limit| *limit < needed) {
        err!("warning: {needed} open files are needed, the limit is {limit} (ulimit -n)");
    }
    let _lock = lock(&args.data)?;
    let data = args.data.canonicalize()?;
    let (naming, _seed) = match given(&args.naming) {
        Some(url) => (url, None),
        None => {
            let seed = Seed::start().await?;
            (seed.url(), Some(seed))
        }
    };
    let mut state = DevState {
        naming,
        store: given(&args.store)
            .unwrap_or_else(|| format!("sqlite://{}", data.join("imago.db").display())),
        directory: given(&args.directory),
        cluster_secret: secret(),
        jwt_secret: secret(),
        members: Vec::new(),
    };
    let started = Instant::now();
    let (servers, grown) = start(&args, &data, &mut state, open_files, &shutdown).await?;
    let ended = match grown {
        _ if shutdown.is_cancelled() => {
            leave(servers).await;
            Ok(())
        }
        Ok(()) => {
            state.write(&data)?;
            welcome::print_welcome(&args, &state, started.elapsed(), open_files)?;
            watch(servers, &data, shutdown).await
        }
        Err(error) => {
            stop(servers).await;
            Err(error)
        }
    };
    DevState::remove(&data);
    ended
}

/// A URL that is given: an empty variable gives none.
fn given(url: &Option<SecretUrl>) -> Option<String> {
    url.as_ref().map(|url| url.expose().trim().to_owned()).filter(|url| !url.is_empty())
}

/// Good for one run: 256 bits.
fn secret() -> String {
    let mut rng = rand::rng();
    (0..4).map(|_| format!("{:016x}", rng.random::<u64>())).collect()
}

/// Starts all servers, and waits until they have grown up, or until `shutdown`.
async fn start(
    args: &DevArgs,
    data: &Path,
    state: &mut DevState,
    open_files: Option<u64>,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Vec<Server>, anyhow::Result<()>)> {
    let progress = if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    progress.enable_steady_tick(Duration::from_millis(100));
    progress.set_message("starting the servers");
    let mut starting = FuturesUnordered::new();
    for number in 1..=args.logics {
        starting.push(start_one(logic(state, args, number), data));
    }
    for number in 1..=args.gateways {
        starting.push(start_one(gateway(state, args, number, open_files)?, data));
    }
    let mut servers = Vec::new();
    let mut failed = Ok(());
    while let Some(Some(server)) = shutdown.run_until_cancelled(starting.next()).await {
        match server {
            Ok(server) => servers.push(server),
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    // Where one has failed, or all are to end, those that have not started end with this.
    drop(starting);
    servers.sort_by(|a, b| a.member.id.cmp(&b.member.id));
    state.members = servers.iter().map(|server| server.member.clone()).collect();
    if failed.is_ok() {
        let ready = until_ready(&state.members, &progress);
        failed = shutdown.run_until_cancelled(ready).await.unwrap_or(Ok(()));
    }
    progress.finish_and_clear();
    Ok((servers, failed))
}

async fn start_one(launch: Launch<'_>, data: &Path) -> anyhow::Result<Server> {
    let log = data.join(format!("{}.log", launch.id));
    Server::start(launch, &log).await
}

fn logic<'a>(state: &DevState, args: &DevArgs, number: u16) -> Launch<'a> {
    let mut launch = Launch::logic(state, format!("logic-{number}"));
    launch.settings.push(("log.level", args.log.clone()));
    launch
}

fn gateway<'a>(
    state: &DevState,
    args: &DevArgs,
    number: u16,
    open_files: Option<u64>,
) -> anyhow::Result<Launch<'a>> {
    let port = |first: Option<u16>| match first {
        None => Ok("127.0.0.1:0".to_owned()),
        Some(first) => match first.checked_add(number - 1) {
            Some(port) => Ok(format!("127.0.0.1:{port}")),
            None => bail!("ports end at 65535: expected a lower first port than {first}"),
        },
    };
    let id = format!("gateway-{number}");
    Ok(Launch {
        role: "gateway",
        settings: vec![
            ("service.id", id.clone()),
            ("listen.ws", port(args.ws_port)?),
            ("listen.tcp", port(args.tcp_port)?),
            // A cluster to try out, and to measure on this machine.
            ("limits.messages_per_second", "1000000".to_owned()),
            ("limits.message_burst", "1000000".to_owned()),
            ("limits.connections", clients(open_files).to_string()),
            ("log.level", args.log.clone()),
        ],
        secrets: vec![
            ("IMAGO_CLUSTER__SECRET", state.cluster_secret.clone()),
            ("IMAGO_NAMING__URL", state.naming.clone()),
            ("IMAGO_AUTH__JWT_SECRET", state.jwt_secret.clone()),
        ],
        id,
    })
}

/// As many clients as a gateway has open files for.
fn clients(open_files: Option<u64>) -> u64 {
    let others = FILES_RESERVED + MonitorConfig::default().connections;
    let limit = open_files.unwrap_or(u64::MAX);
    limit.saturating_sub(others as u64).max(limit / 2).clamp(1, 10_000_000)
}

async fn until_ready(members: &[Member], progress: &ProgressBar) -> anyhow::Result<()> {
    let http = imago_kit::http::client().timeout(Duration::from_secs(2)).build()?;
    let deadline = Instant::now() + GROW_TIMEOUT;
    loop {
        let mut waiting = Vec::new();
        for member in members {
            if let Err(why) = is_ready(&http, member).await {
                waiting.push(format!("{} ({why})", member.id));
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        progress.set_message(format!("growing up: {}", waiting.join(", ")));
        if Instant::now() >= deadline {
            bail!("not grown up after {GROW_TIMEOUT:?}: {}; see their logs", waiting.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Why a member is not ready, in its own words.
async fn is_ready(http: &reqwest::Client, member: &Member) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Ready {
        #[serde(default)]
        reasons: Vec<String>,
    }
    let answer = http.get(format!("{}/ready", member.monitor)).send().await;
    let answer = answer.map_err(|_| "does not answer".to_owned())?;
    if answer.status().is_success() {
        return Ok(());
    }
    let ready = answer.json::<Ready>().await.map_err(|error| error.to_string())?;
    Err(ready.reasons.join("; "))
}

/// Until the user ends it, or a server ends: that is told, and nothing is restarted.
async fn watch(
    mut servers: Vec<Server>,
    data: &Path,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while !servers.is_empty() {
        let (index, how) = {
            let ends = servers.iter_mut().map(|server| Box::pin(server.ended()));
            tokio::select! {
                (how, index, _) = select_all(ends) => (index, how),
                () = shutdown.cancelled() => break,
            }
        };
        let id = servers.remove(index).member.id;
        err!("{id} has ended ({how}), see {}", data.join(format!("{id}.log")).display());
    }
    if shutdown.is_cancelled() {
        leave(servers).await;
        return Ok(());
    }
    bail!("all servers have ended")
}

/// Ends the cluster as its user wants it.
async fn leave(servers: Vec<Server>) {
    out!("\nending: servers finish what they have begun");
    stop(servers).await;
}

async fn stop(servers: Vec<Server>) {
    let mut stopping: FuturesUnordered<_> = servers.into_iter().map(Server::stop).collect();
    while stopping.next().await.is_some() {}
}
