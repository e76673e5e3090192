//! Clients of the relay, the echo and the broadcast: they send, wait, read and count as those of
//! Imago do, with the same code wherever there is the same to do.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use imago_proto::Status;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{
    client::{
        connect::Connection,
        crowd::Crowd,
        pace::{Pace, Pacer},
        talker::Inbox,
        wire::{self, READ, Writer, fill},
    },
    measure::{cpu::Watched, run::Run, seen::Tally, stamp::Stamp},
    process::{
        frames::{put, take},
        relay::{ANSWERED, DELIVERED},
    },
    report::run::Report,
    scenario::load::LoadArgs,
};

/// Clients that begin together.
pub(super) struct Clients {
    crowd: Crowd,
    pace: Pace,
    size: usize,
    run: Arc<Run>,
}

/// What a client is made of.
struct Client {
    number: usize,
    pace: Pace,
    size: usize,
    run: Arc<Run>,
    room: Semaphore,
}

impl Clients {
    /// Makes room for `clients`, of which `senders` send.
    pub(super) fn new(
        clients: usize,
        senders: usize,
        load: &LoadArgs,
        run: Arc<Run>,
    ) -> anyhow::Result<Self> {
        Ok(Self { crowd: Crowd::new(clients), pace: load.pace(senders)?, size: load.size, run })
    }

    fn client(&self, number: usize) -> Client {
        let (pace, size, run) = (self.pace, self.size, self.run.clone());
        Client { number, pace, size, run, room: Semaphore::new(0) }
    }

    /// Adds a client of the relay.
    pub(super) async fn relay(&mut self, edge: &str, number: usize) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(edge).await?;
        stream.set_nodelay(true)?;
        let mut hello = BytesMut::new();
        put(&mut hello, name(number), &[]);
        stream.write_all(&hello).await?;
        // Until it comes back, what is sent to this client would be lost.
        stream.read_exact(&mut hello).await?;
        self.crowd.add(self.client(number).relayed(stream));
        Ok(())
    }

    /// Adds a client of the echo.
    pub(super) async fn echo(&mut self, address: &str, number: usize) -> anyhow::Result<()> {
        let socket = wire::open(&format!("ws://{address}/")).await?;
        self.crowd.add(self.client(number).echoed(socket));
        Ok(())
    }

    /// Adds a client of the broadcast; the first of them talks.
    pub(super) async fn broadcast(&mut self, address: &str, number: usize) -> anyhow::Result<()> {
        let (mut reader, mut writer) = wire::open(&format!("ws://{address}/")).await?;
        writer.send([Bytes::from_static(b"hello")]).await?;
        // It comes back once messages find this client.
        reader.message().await?;
        let client = self.client(number);
        match number {
            0 => self.crowd.add(client.broadcasts((reader, writer))),
            _ => self.crowd.add(client.listens((reader, writer))),
        }
        Ok(())
    }

    /// Lets them begin, measures, and waits for all of them.
    pub(super) async fn measure(
        self,
        what: &str,
        load: &LoadArgs,
        watched: &[Watched],
    ) -> anyhow::Result<Report> {
        self.crowd.start().await;
        let measured = self.run.measure(load.warm_up, load.duration, watched).await?;
        let tally = self.crowd.end().await?;
        let totals = self.run.totals();
        let report =
            Report { title: what.to_owned(), settings: Value::Null, measured, totals, tally };
        report.verify().with_context(|| what.to_owned())?;
        Ok(report)
    }
}

fn name(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What a client does until the run has ended.
async fn until_ended(
    run: &Run,
    sends: impl Future<Output = anyhow::Result<()>>,
    receives: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let sends = async {
        sends.await?;
        run.ended().await;
        anyhow::Ok(())
    };
    let (mut sends, mut receives) = (pin!(sends), pin!(receives));
    tokio::select! {
        biased;
        failed = &mut receives => failed,
        ended = &mut sends => ended,
    }
}

impl Client {
    fn pacer(&self) -> Pacer<'_> {
        Pacer::new(self.pace, self.number, &self.run, &self.room)
    }

    fn stamp(&self, (number, due): (u64, Duration)) -> Stamp {
        Stamp { sender: self.number, number, due }
    }

    fn answered(&self, text: &[u8]) -> anyhow::Result<()> {
        let stamp = Stamp::read(text).context("an answer that is not of this run")?;
        self.run.answered(self.number, stamp.due, Status::Success.code());
        self.room.add_permits(1);
        Ok(())
    }

    async fn relayed(self, stream: TcpStream) -> anyhow::Result<Tally> {
        let (mut read, mut write) = stream.into_split();
        let sends = async {
            let (mut pacer, mut frame) = (self.pacer(), BytesMut::new());
            while let Some(next) = pacer.next().await? {
                let body = self.stamp(next).body(self.size);
                put(&mut frame, name(self.number ^ 1), &[body.as_bytes()]);
                write.write_all_buf(&mut frame).await?;
            }
            anyhow::Ok(())
        };
        let mut inbox = Inbox::new(self.number);
        let receives = async {
            let mut arrived = BytesMut::new();
            while fill(&mut read, &mut arrived, READ).await? > 0 {
                while let Some((_, frame)) = take(&mut arrived)? {
                    let Some((kind, text)) = frame.split_first() else { bail!("an empty frame") };
                    match *kind {
                        ANSWERED => self.answered(text)?,
                        DELIVERED => drop(inbox.take(text, &self.run)?),
                        other => bail!("a frame of kind {other}"),
                    }
                }
            }
            bail!("closed by the relay")
        };
        until_ended(&self.run, sends, receives).await?;
        Ok(inbox.tally())
    }

    async fn echoed(self, (mut reader, mut writer): Connection) -> anyhow::Result<Tally> {
        let sends = self.sends(&mut writer);
        let mut inbox = Inbox::new(self.number);
        let receives = async {
            loop {
                let message = reader.message().await?;
                inbox.take(&message, &self.run)?;
                self.answered(&message)?;
            }
        };
        until_ended(&self.run, sends, receives).await?;
        Ok(inbox.tally())
    }

    async fn broadcasts(self, (mut reader, mut writer): Connection) -> anyhow::Result<Tally> {
        let sends = self.sends(&mut writer);
        let receives = async {
            loop {
                self.answered(&reader.message().await?)?;
            }
        };
        until_ended(&self.run, sends, receives).await?;
        Ok(Tally::default())
    }

    async fn listens(self, (mut reader, _writer): Connection) -> anyhow::Result<Tally> {
        let mut inbox = Inbox::new(self.number);
        let receives = async {
            loop {
                inbox.take(&reader.message().await?, &self.run)?;
            }
        };
        until_ended(&self.run, async { Ok(()) }, receives).await?;
        Ok(inbox.tally())
    }

    /// Sends WebSocket messages when they are due.
    async fn sends(&self, writer: &mut Writer) -> anyhow::Result<()> {
        let mut pacer = self.pacer();
        while let Some(next) = pacer.next().await? {
            writer.send([Bytes::from(self.stamp(next).body(self.size))]).await?;
        }
        Ok(())
    }
}
