//! A WebSocket server that gives each message to everybody else who is connected, as a good plain
//! one does: encoded once, a small bounded queue and a task for each client, what waits written in
//! one go.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use crate::measure::stamp;

/// Messages that may wait for one client. Overflow policy: the sender waits.
const QUEUE: usize = 64;
/// Bytes that one read takes: messages are small, and clients are many.
const READ: usize = 4096;

type Clients = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;

/// Serves for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let clients = Clients::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(client(stream, clients.clone()));
    }
}

async fn client(stream: TcpStream, clients: Clients) -> anyhow::Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(READ);
    let socket = accept_async_with_config(stream, Some(config)).await?;
    let (sink, mut messages) = socket.split();
    let (to_client, queue) = mpsc::channel(QUEUE);
    tokio::spawn(write(sink, queue));
    // A client's first message says that it is there, and is answered once messages find it.
    let Some(Ok(Message::Binary(hello))) = messages.next().await else { return Ok(()) };
    clients.lock().unwrap_or_else(PoisonError::into_inner).push(to_client.clone());
    to_client.send(hello).await?;
    while let Some(message) = messages.next().await {
        let Message::Binary(message) = message? else { continue };
        broadcast(&clients, &to_client, &message).await;
        to_client.send(message.slice(..stamp::SIZE_MIN.min(message.len()))).await?;
    }
    Ok(())
}

/// Gives it to all but its sender. Clients that have gone are forgotten.
async fn broadcast(clients: &Clients, sender: &mpsc::Sender<Bytes>, message: &Bytes) {
    let mut full = Vec::new();
    let give = |client: &mpsc::Sender<Bytes>| {
        if client.same_channel(sender) {
            return true;
        }
        match client.try_send(message.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                full.push(client.clone());
                true
            }
        }
    };
    clients.lock().unwrap_or_else(PoisonError::into_inner).retain(give);
    for client in full {
        // It may have gone.
        let _ = client.send(message.clone()).await;
    }
}

/// Writes what waits, all of it in one go.
async fn write(
    mut sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut queue: mpsc::Receiver<Bytes>,
) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, QUEUE).await > 0 {
        for message in batch.drain(..) {
            sink.feed(Message::Binary(message)).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}
