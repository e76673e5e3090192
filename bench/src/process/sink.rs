//! What this machine needs to send bytes from one process to another: plain TCP, nothing around it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use imago_kit::out;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, stdin},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::child::Child;

/// How long sending may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that reads.
pub(crate) struct Sink {
    _child: Child,
    address: String,
}

impl Sink {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (child, address) = Child::listening(&["serve-sink"]).await?;
        Ok(Self { _child: child, address })
    }

    /// Sends each piece over a connection of its own, all at once. The time from the first byte
    /// until the other side has read the last.
    pub(crate) async fn time(&self, pieces: &[Bytes]) -> anyhow::Result<Duration> {
        let mut streams = Vec::new();
        for _ in pieces {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let begun = Instant::now();
        let mut sending = JoinSet::new();
        for (stream, piece) in streams.into_iter().zip(pieces.iter().cloned()) {
            sending.spawn(async move { timeout(PATIENCE, send(stream, piece)).await });
        }
        while let Some(sent) = sending.join_next().await {
            sent.context("a sender failed")?.context("the sink reads too slowly")??;
        }
        Ok(begun.elapsed())
    }
}

async fn send(mut stream: TcpStream, piece: Bytes) -> anyhow::Result<()> {
    stream.write_all(&piece).await?;
    stream.shutdown().await?;
    let read = stream.read_u64().await?;
    ensure!(read == piece.len() as u64, "{} bytes were sent, {read} read", piece.len());
    Ok(())
}

/// Serves the hidden `imago bench serve-sink`: reads until standard input ends.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    out!("{}", listener.local_addr()?);
    let (mut input, mut byte) = (stdin(), [0]);
    tokio::select! {
        ended = accept(listener) => ended,
        _ = input.read(&mut byte) => Ok(()),
    }
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                readers.spawn(swallow(stream));
            }
            Some(_) = readers.join_next() => {}
        }
    }
}

/// Reads to the end, and says how much it was.
async fn swallow(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut total) = (vec![0; 64 << 10], 0_u64);
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => total += read as u64,
        }
    }
    stream.write_u64(total).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_says_how_much_it_has_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reading = async { swallow(listener.accept().await.unwrap().0).await.unwrap() };
        let sending = async {
            let stream = TcpStream::connect(address).await.unwrap();
            send(stream, Bytes::from(vec![7; 300_000])).await.unwrap();
        };
        tokio::join!(reading, sending);
    }
}
