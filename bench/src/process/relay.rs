//! The processes that the limit is measured with: two relays, and WebSockets that echo and broadcast.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use dashmap::DashMap;
use futures::{SinkExt, StreamExt};
use imago_kit::out;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, stdin},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::{
    broadcast,
    frames::{put, take},
};
use crate::{
    client::wire::{READ, fill},
    measure::stamp,
};

/// Frames that may wait for one socket. Overflow policy: the sender waits.
const QUEUE: usize = 4096;
/// Frames that are written in one go.
const BATCH: usize = 256;

/// Bytes that one read takes from the socket that the messages of many clients share.
const LINK_READ: usize = 64 << 10;

/// First byte of what a client gets: its message has gone through, or here is one for it.
pub(crate) const ANSWERED: u8 = 0;
pub(crate) const DELIVERED: u8 = 1;

/// Which of them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    /// Stands where a logic server does: turns each message into an answer and a delivery.
    Core,
    /// Stands where a gateway does: between its clients and the core.
    Edge,
    /// Gives each WebSocket message back.
    Echo,
    /// Gives each WebSocket message to all other clients.
    Broadcast,
}

/// Flags of the hidden `imago bench serve-limit`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    part: Part,
    /// Address of the core, for an edge
    #[arg(long)]
    core: Option<SocketAddr>,
}

/// Serves until standard input ends; one line on standard output says where.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = async {
        match args.part {
            Part::Core => each(listener, core).await,
            Part::Echo => each(listener, echo).await,
            Part::Broadcast => broadcast::serve(listener).await,
            Part::Edge => edge(listener, args.core.context("--core: expected")?).await,
        }
    };
    out!("{address}");
    let (mut input, mut byte) = (stdin(), [0]);
    tokio::select! {
        ended = serving => ended,
        _ = input.read(&mut byte) => Ok(()),
    }
}

async fn each<F>(listener: TcpListener, serve: fn(TcpStream) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

async fn core(stream: TcpStream) -> anyhow::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let (mut arrived, mut leaving) = (BytesMut::new(), BytesMut::new());
    while fill(&mut read, &mut arrived, LINK_READ).await? > 0 {
        while let Some((to, frame)) = take(&mut arrived)? {
            let Some((from, payload)) = frame.split_first_chunk::<4>() else { continue };
            let head = payload.get(..stamp::SIZE_MIN).unwrap_or(payload);
            put(&mut leaving, u32::from_be_bytes(*from), &[&[ANSWERED], head]);
            put(&mut leaving, to, &[&[DELIVERED], payload]);
        }
        write.write_all_buf(&mut leaving).await?;
    }
    Ok(())
}

async fn echo(stream: TcpStream) -> anyhow::Result<()> {
    let (mut sink, mut stream) = tokio_tungstenite::accept_async(stream).await?.split();
    while let Some(message) = stream.next().await {
        let message = message?;
        if message.is_binary() || message.is_text() {
            sink.send(message).await?;
        }
    }
    Ok(())
}

/// Ways to the clients, by number.
type Clients = Arc<DashMap<u32, mpsc::Sender<Bytes>>>;

async fn edge(listener: TcpListener, core: SocketAddr) -> anyhow::Result<()> {
    let link = TcpStream::connect(core).await?;
    link.set_nodelay(true)?;
    let (read, write) = link.into_split();
    let clients = Clients::default();
    let (to_core, queue) = mpsc::channel(QUEUE);
    tokio::spawn(write_all(write, queue));
    tokio::spawn(hand_out(read, clients.clone()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        tokio::spawn(hear(read, write, clients.clone(), to_core.clone()));
    }
}

/// Writes what waits, all of it in one go.
async fn write_all(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Bytes>,
) -> anyhow::Result<()> {
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), BytesMut::new());
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        for frame in batch.drain(..) {
            bytes.extend_from_slice(&frame);
        }
        socket.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}

/// Hands out what comes from the core.
async fn hand_out(mut core: OwnedReadHalf, clients: Clients) -> anyhow::Result<()> {
    let mut arrived = BytesMut::new();
    while fill(&mut core, &mut arrived, LINK_READ).await? > 0 {
        while let Some((to, payload)) = take(&mut arrived)? {
            let Some(client) = clients.get(&to).map(|client| client.clone()) else { continue };
            let mut frame = BytesMut::new();
            put(&mut frame, to, &[&payload]);
            // It may have gone.
            let _ = client.send(frame.freeze()).await;
        }
    }
    Ok(())
}

/// A client's first frame says its number, and comes back once messages for it find it; the others
/// are messages.
async fn hear(
    mut read: OwnedReadHalf,
    write: OwnedWriteHalf,
    clients: Clients,
    to_core: mpsc::Sender<Bytes>,
) -> anyhow::Result<()> {
    let mut arrived = BytesMut::new();
    let (to_client, queue) = mpsc::channel(QUEUE);
    tokio::spawn(write_all(write, queue));
    let mut own = None;
    while fill(&mut read, &mut arrived, READ).await? > 0 {
        while let Some((to, payload)) = take(&mut arrived)? {
            let Some(from) = own else {
                clients.insert(to, to_client.clone());
                own = Some(to);
                let mut known = BytesMut::new();
                put(&mut known, to, &[]);
                to_client.send(known.freeze()).await?;
                continue;
            };
            let mut frame = BytesMut::new();
            put(&mut frame, to, &[&u32::to_be_bytes(from), &payload]);
            to_core.send(frame.freeze()).await?;
        }
    }
    Ok(())
}
