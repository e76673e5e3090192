//! Clients of the relay and of the echo: they send, wait and count as those of Imago do.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use imago_proto::Status;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Barrier, Semaphore},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{client_async, tungstenite::Message};

use super::{
    super::{
        client::{GRACE, Tally},
        cpu::Watched,
        load::LoadArgs,
        pace::{LOOK, Pace, Pacer},
        report::Report,
        run::Run,
        stamp::Stamp,
    },
    frames::{put, take},
    serve::{ANSWERED, DELIVERED},
};

/// Clients that begin together.
pub(super) struct Crowd {
    ready: Arc<Barrier>,
    pace: Pace,
    size: usize,
    clients: JoinSet<anyhow::Result<()>>,
}

impl Crowd {
    /// For so many.
    pub(super) fn new(clients: usize, load: &LoadArgs) -> anyhow::Result<Self> {
        Ok(Self {
            ready: Arc::new(Barrier::new(clients + 1)),
            pace: load.pace(clients)?,
            size: load.size,
            clients: JoinSet::new(),
        })
    }

    /// A client of the relay takes part once all are there.
    pub(super) async fn relay(
        &mut self,
        edge: &str,
        number: usize,
        run: Arc<Run>,
    ) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(edge).await?;
        stream.set_nodelay(true)?;
        let mut hello = BytesMut::new();
        put(&mut hello, name(number), &[]);
        stream.write_all(&hello).await?;
        // Until it comes back, what is sent to this client would be lost.
        stream.read_exact(&mut hello).await?;
        let (ready, pace, size) = (self.ready.clone(), self.pace, self.size);
        self.clients.spawn(async move {
            ready.wait().await;
            relay(stream, number, &run, pace, size).await
        });
        Ok(())
    }

    /// A client of the echo takes part once all are there.
    pub(super) async fn echo(
        &mut self,
        address: &str,
        number: usize,
        run: Arc<Run>,
    ) -> anyhow::Result<()> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(format!("ws://{address}/"), stream).await?;
        let (ready, pace, size) = (self.ready.clone(), self.pace, self.size);
        self.clients.spawn(async move {
            ready.wait().await;
            echo(socket, number, &run, pace, size).await
        });
        Ok(())
    }

    /// Lets them begin, measures, and waits for all of them.
    pub(super) async fn measure(
        mut self,
        what: &str,
        run: &Run,
        load: &LoadArgs,
        watched: &[Watched],
    ) -> anyhow::Result<Report> {
        self.ready.wait().await;
        let measured = run.measure(load.warm_up, load.duration, watched).await?;
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client failed")??;
        }
        let (totals, tally) = (run.totals(), Tally::default());
        let report =
            Report { title: what.to_owned(), settings: Value::Null, measured, totals, tally };
        report.verify().with_context(|| what.to_owned())?;
        Ok(report)
    }
}

fn name(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Resolves when the run is over and everything has arrived, or had its time to.
async fn settled(run: &Run) {
    let mut give_up = None;
    loop {
        sleep_until(Instant::now() + LOOK).await;
        if run.is_over() {
            let give_up = *give_up.get_or_insert_with(|| Instant::now() + GRACE);
            if run.is_settled() || Instant::now() >= give_up {
                return;
            }
        }
    }
}

async fn relay(
    stream: TcpStream,
    number: usize,
    run: &Run,
    pace: Pace,
    size: usize,
) -> anyhow::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let room = Semaphore::new(0);
    let sends = async {
        let mut pacer = Pacer::new(pace, number, run, &room);
        let mut frame = BytesMut::new();
        while let Some((message, due)) = pacer.next().await? {
            let stamp = Stamp { sender: number, number: message, due };
            put(&mut frame, name(number ^ 1), &[stamp.body(size).as_bytes()]);
            write.write_all_buf(&mut frame).await?;
        }
        settled(run).await;
        anyhow::Ok(())
    };
    let receives = async {
        let mut arrived = BytesMut::new();
        while read.read_buf(&mut arrived).await? > 0 {
            while let Some((_, frame)) = take(&mut arrived)? {
                let Some((kind, text)) = frame.split_first() else { bail!("an empty frame") };
                let stamp = stamp(text)?;
                match *kind {
                    ANSWERED => answered(number, stamp.due, run, &room),
                    DELIVERED => run.delivered(number, stamp.due),
                    other => bail!("a frame of kind {other}"),
                }
            }
        }
        bail!("closed by the relay")
    };
    tokio::select! {
        ended = sends => ended,
        failed = receives => failed,
    }
}

async fn echo(
    socket: tokio_tungstenite::WebSocketStream<TcpStream>,
    number: usize,
    run: &Run,
    pace: Pace,
    size: usize,
) -> anyhow::Result<()> {
    let (mut sink, mut stream) = socket.split();
    let room = Semaphore::new(0);
    let sends = async {
        let mut pacer = Pacer::new(pace, number, run, &room);
        while let Some((message, due)) = pacer.next().await? {
            let stamp = Stamp { sender: number, number: message, due };
            sink.send(Message::binary(stamp.body(size))).await?;
        }
        settled(run).await;
        anyhow::Ok(())
    };
    let receives = async {
        while let Some(message) = stream.next().await {
            let stamp = stamp(&message?.into_data())?;
            run.delivered(number, stamp.due);
            answered(number, stamp.due, run, &room);
        }
        bail!("closed by the echo")
    };
    tokio::select! {
        ended = sends => ended,
        failed = receives => failed,
    }
}

fn stamp(text: &[u8]) -> anyhow::Result<Stamp> {
    let text = std::str::from_utf8(text)?;
    Stamp::read(text).context("a message that is not of this run")
}

fn answered(client: usize, due: Duration, run: &Run, room: &Semaphore) {
    run.answered(client, due, Status::Success.code());
    room.add_permits(1);
}
