//! One of the processes that hold idle clients.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use imago_kit::{bounded, cli::print};
use imago_proto::{BasicCode, Packet};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

use super::idlers::{END, PINGS, Told};
use crate::client::{
    connect::{AT_ONCE, Connection, room},
    failure::Ended,
    wire,
};

/// How often it is told how far they are.
const TELL: Duration = Duration::from_millis(100);

/// Flags of the hidden `imago bench serve-idlers`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    #[arg(long, value_parser = bounded::duration(PINGS))]
    ping_interval: Duration,
}

/// Counts of all clients.
#[derive(Default)]
struct Counts {
    connected: AtomicUsize,
    lost: AtomicUsize,
    pings: AtomicU64,
    pongs: AtomicU64,
    why: Mutex<Option<String>>,
    failed: Mutex<Option<String>>,
}

/// Connects the clients that standard input names, one a line, and holds them until it ends.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    // Asks for all the files that there are.
    room();
    let counts = Arc::new(Counts::default());
    let mut clients = JoinSet::new();
    clients.spawn(tell(counts.clone()));
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let Some((url, token)) = line.split_once(' ') else {
            if line == END {
                continue;
            }
            break;
        };
        let (url, token) = (url.to_owned(), token.to_owned());
        let permit = permits.clone().acquire_owned().await?;
        let counts = counts.clone();
        clients.spawn(async move {
            let connected = wire::connect(&url, &token).await;
            drop(permit);
            match connected {
                Ok(connection) => hold(connection, args.ping_interval, &counts).await,
                Err(not_in) => note(&counts.failed, not_in.to_string()),
            }
        });
    }
    Ok(())
}

/// Pings until the connection ends.
async fn hold(connection: Connection, ping_interval: Duration, counts: &Counts) {
    counts.connected.fetch_add(1, Ordering::SeqCst);
    let ended = ping(connection, ping_interval, counts).await;
    note(&counts.why, ended.to_string());
    counts.lost.fetch_add(1, Ordering::SeqCst);
}

async fn ping(
    (mut reader, mut writer): Connection,
    ping_interval: Duration,
    counts: &Counts,
) -> Ended {
    reader.read_little();
    // They do not all ping at the same instant.
    let first = Instant::now() + ping_interval.mul_f64(rand::random());
    let mut ping = interval_at(first, ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            packet = reader.next_packet() => match packet {
                Ok(Packet::Basic(basic)) if basic.code == BasicCode::Pong => {
                    counts.pongs.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(ended) => return ended,
            },
            _ = ping.tick() => {
                counts.pings.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = writer.ping().await {
                    return Ended::Cut(error);
                }
            }
        }
    }
}

/// Tells again and again how far they are, where it has changed.
async fn tell(counts: Arc<Counts>) {
    let mut look = interval(TELL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        look.tick().await;
        let told = counts.told();
        if before.as_ref() == Some(&told) {
            continue;
        }
        if let Ok(line) = serde_json::to_string(&told) {
            print(format_args!("{line}\n"));
        }
        before = Some(told);
    }
}

/// Keeps the first of its kind.
fn note(place: &Mutex<Option<String>>, why: String) {
    place.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
}

impl Counts {
    fn told(&self) -> Told {
        let noted = |place: &Mutex<Option<String>>| {
            place.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        Told {
            connected: self.connected.load(Ordering::SeqCst),
            lost: self.lost.load(Ordering::SeqCst),
            why: noted(&self.why),
            pings: self.pings.load(Ordering::Relaxed),
            pongs: self.pongs.load(Ordering::Relaxed),
            failed: noted(&self.failed),
        }
    }
}
