//! `imago bench talk`: pairs of clients that talk to each other.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use imago_container::cli::print;
use imago_proto::{
    LogicPacket, command,
    msg::{Cursor, MessageAckReq, MessagePush, MessageReq},
};
use indicatif::ProgressBar;
use prost::Message;
use serde_json::json;
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};

use super::{
    TargetArgs, histogram, percentiles,
    wire::{self, Reader, Writer, is_push},
};
use crate::table::table;

/// Messages that a receiver acknowledges in one go.
const ACK_EVERY: u64 = 200;

/// Flags of `imago bench talk`.
#[derive(Debug, clap::Args)]
pub(crate) struct TalkArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Clients; each talks to the one beside it
    #[arg(long, default_value_t = 2)]
    clients: usize,
    /// Messages that each client may have unanswered
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// How long is measured
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long is not measured before
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Bytes of each message's body
    #[arg(long, default_value_t = 64)]
    size: usize,
}

/// What all clients count in.
struct Count {
    started: Instant,
    measuring: AtomicBool,
    stopping: AtomicBool,
    delivered: AtomicU64,
}

/// What one client saw.
#[derive(Default)]
struct Tally {
    delivery: Option<Histogram<u64>>,
    answer: Option<Histogram<u64>>,
    statuses: BTreeMap<u32, u64>,
    /// Messages that came a second time: after a crash, the wire delivers at least once.
    again: u64,
    sent: u64,
    /// Different messages received.
    received: u64,
}

pub(super) async fn run(args: TalkArgs) -> anyhow::Result<()> {
    ensure!(
        args.clients >= 2 && args.clients.is_multiple_of(2),
        "--clients: expected an even number, 2 or more"
    );
    ensure!(args.window >= 1, "--window: expected 1 or more");
    ensure!((32..=4000).contains(&args.size), "--size: expected 32 to 4000");
    let target = args.target.target()?;
    let run_id: u32 = rand::random();
    let account = |number: usize| format!("bench-{run_id:08x}-{number}");
    let count = Arc::new(Count {
        started: Instant::now(),
        measuring: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        delivered: AtomicU64::new(0),
    });
    let ready = Arc::new(Barrier::new(args.clients + 1));
    let mut clients = JoinSet::new();
    for number in 0..args.clients {
        let token = target.token(&account(number))?;
        let (reader, writer) = wire::connect(target.gateway(number), &token).await?;
        let peer = account(number ^ 1);
        let (count, ready) = (count.clone(), ready.clone());
        let (window, size) = (args.window, args.size);
        clients.spawn(async move {
            ready.wait().await;
            client(reader, writer, peer, window, size, count).await
        });
    }
    ready.wait().await;
    let (seconds, delivered) = measure(&args, &count).await;
    let mut total = Tally::default();
    while let Some(tally) = clients.join_next().await {
        total.add(tally.context("client failed")??);
    }
    report(&args, &total, seconds, delivered)
}

/// Warms up, measures, and has the clients end.
async fn measure(args: &TalkArgs, count: &Count) -> (f64, u64) {
    let progress = ProgressBar::new_spinner();
    progress.set_message("warming up");
    tokio::time::sleep(args.warm_up).await;
    count.measuring.store(true, Ordering::SeqCst);
    let before = count.delivered.load(Ordering::SeqCst);
    let begun = Instant::now();
    let mut last = before;
    while begun.elapsed() < args.duration {
        let step = Duration::from_secs(1).min(args.duration - begun.elapsed());
        tokio::time::sleep(step).await;
        let now = count.delivered.load(Ordering::SeqCst);
        let rate = (now - last) as f64 / step.as_secs_f64().max(0.001);
        progress.set_message(format!("{rate:.0} messages a second"));
        progress.tick();
        last = now;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let delivered = count.delivered.load(Ordering::SeqCst) - before;
    count.measuring.store(false, Ordering::SeqCst);
    count.stopping.store(true, Ordering::SeqCst);
    progress.finish_and_clear();
    (seconds, delivered)
}

/// One client: sends as fast as its window lets it, and checks what it receives.
async fn client(
    mut reader: Reader,
    mut writer: Writer,
    peer: String,
    window: usize,
    size: usize,
    count: Arc<Count>,
) -> anyhow::Result<Tally> {
    let room = Arc::new(Semaphore::new(window));
    let acks = Arc::new(tokio::sync::Mutex::new(None::<Cursor>));
    let sender = {
        let (room, count, acks) = (room.clone(), count.clone(), acks.clone());
        tokio::spawn(async move {
            let mut sent = 0;
            while !count.stopping.load(Ordering::Relaxed) {
                let Ok(permit) = room.acquire().await else { break };
                permit.forget();
                let ack = acks.lock().await.take().map(ack_of);
                sent += 1;
                let talk = talk_of(&peer, sent, size, &count);
                writer.send(ack.into_iter().chain([talk])).await?;
            }
            anyhow::Ok((sent, writer))
        })
    };
    let mut tally =
        Tally { delivery: Some(histogram()), answer: Some(histogram()), ..Tally::default() };
    let mut seen = HashSet::new();
    let mut answered = 0;
    let mut sent_at_end = None;
    // After the end, what is still on its way has a moment to arrive.
    let mut patience = None;
    let mut sender = Some(sender);
    loop {
        if count.stopping.load(Ordering::Relaxed) {
            if let Some(sending) = sender.take() {
                room.close();
                let (sent, kept) = sending.await.context("sender failed")??;
                sent_at_end = Some((sent, kept));
                patience = Some(tokio::time::Instant::now() + Duration::from_secs(3));
            }
            let all_answered = sent_at_end.as_ref().is_some_and(|(sent, _)| answered >= *sent);
            if all_answered
                && patience.is_some_and(|until| {
                    until - Duration::from_secs(2) < tokio::time::Instant::now()
                })
            {
                break;
            }
        }
        let soon = tokio::time::Instant::now() + Duration::from_millis(200);
        let packet = tokio::select! {
            packet = reader.next() => packet?,
            () = tokio::time::sleep_until(patience.map_or(soon, |until| until.min(soon))) => {
                if patience.is_some_and(|until| until <= tokio::time::Instant::now()) {
                    break;
                }
                continue;
            }
        };
        if is_push(&packet) {
            let push = MessagePush::decode(packet.body)?;
            let (number, at) = stamp(&push.body).context("a message that is not ours")?;
            if !seen.insert(number) {
                tally.again += 1;
                continue;
            }
            tally.received += 1;
            count.delivered.fetch_add(1, Ordering::Relaxed);
            record(&mut tally.delivery, at, &count);
            if number % ACK_EVERY == 0 {
                *acks.lock().await =
                    Some(Cursor { conversation: push.conversation, seq: push.seq });
            }
        } else if packet.header.command == command::CHAT_USER_TALK {
            answered += 1;
            *tally.statuses.entry(packet.header.status).or_default() += 1;
            record(&mut tally.answer, u64::from(packet.header.sequence), &count);
            room.add_permits(1);
        }
    }
    tally.sent = sent_at_end.map_or(0, |(sent, _)| sent);
    Ok(tally)
}

/// Microseconds since the start, which fit a sequence number for an hour.
fn micros(count: &Count) -> u64 {
    u64::try_from(count.started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn record(histogram: &mut Option<Histogram<u64>>, at: u64, count: &Count) {
    if let (true, Some(histogram)) = (count.measuring.load(Ordering::Relaxed), histogram) {
        histogram.saturating_record(micros(count).saturating_sub(at).max(1));
    }
}

/// A message that carries its number and the time it was sent at, also as its sequence number.
fn talk_of(peer: &str, number: u64, size: usize, count: &Count) -> bytes::Bytes {
    let at = micros(count);
    let mut body = format!("{number} {at} ");
    body.extend(std::iter::repeat_n('x', size.saturating_sub(body.len())));
    let talk = MessageReq { r#type: 1, body, ..MessageReq::default() };
    let sequence = u32::try_from(at & u64::from(u32::MAX)).unwrap_or_default();
    LogicPacket::request(command::CHAT_USER_TALK, sequence, peer, talk.encode_to_vec().into())
        .encode()
}

fn ack_of(cursor: Cursor) -> bytes::Bytes {
    let ack = MessageAckReq { message_id: 0, cursors: vec![cursor] };
    LogicPacket::request(command::CHAT_TALK_ACK, 0, "", ack.encode_to_vec().into()).encode()
}

fn stamp(body: &str) -> Option<(u64, u64)> {
    let mut words = body.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

impl Tally {
    fn add(&mut self, other: Self) {
        for (into, from) in [(&mut self.delivery, other.delivery), (&mut self.answer, other.answer)]
        {
            match (into.as_mut(), from) {
                (Some(into), Some(from)) => into.add(from).expect("all have the same bounds"),
                (None, from) => *into = from,
                (Some(_), None) => {}
            }
        }
        for (status, times) in other.statuses {
            *self.statuses.entry(status).or_default() += times;
        }
        self.again += other.again;
        self.sent += other.sent;
        self.received += other.received;
    }
}

fn report(args: &TalkArgs, total: &Tally, seconds: f64, delivered: u64) -> anyhow::Result<()> {
    let rate = delivered as f64 / seconds;
    out!(
        "{} clients, window {}, {} bytes: {rate:.0} messages a second delivered\n",
        args.clients,
        args.window,
        args.size
    );
    let mut rows = Vec::new();
    let mut figures = json!({
        "scenario": "talk", "clients": args.clients, "window": args.window, "size": args.size,
        "seconds": seconds, "delivered": delivered, "per_second": rate, "sent": total.sent,
        "received": total.received, "again": total.again, "statuses": total.statuses,
    });
    for (name, histogram) in [("delivered", &total.delivery), ("answered", &total.answer)] {
        let Some(histogram) = histogram else { continue };
        let values = percentiles(histogram);
        let mut row = vec![name.to_owned()];
        row.extend(values.iter().map(|(_, value)| format!("{value:.2}")));
        rows.push(row);
        let values: BTreeMap<_, _> = values.into_iter().collect();
        figures[format!("{name}_ms")] = json!(values);
    }
    print(table(&["MILLISECONDS UNTIL", "P50", "P90", "P99", "P99.9", "MAX"], &rows));
    for (status, times) in total.statuses.iter().filter(|(status, _)| **status != 0) {
        out!("status {status}: {times} answers");
    }
    let accepted = total.statuses.get(&0).copied().unwrap_or_default();
    let (received, again) = (total.received, total.again);
    out!("accepted {accepted} of {}, received {received}, again {again}", total.sent);
    args.target.write(&figures)?;
    ensure!(received >= accepted, "{} accepted messages did not arrive", accepted - received);
    Ok(())
}
