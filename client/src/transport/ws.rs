//! The WebSocket transport.

use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use imago_proto::Packet;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use super::{Ends, INBOUND_MAX, Lost, Tasks, WRITE_TIMEOUT};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Size of each buffer at first: most packets are a few hundred bytes.
const BUFFER: usize = 4 << 10;

pub(super) async fn open(
    url: &str,
    ends: Ends,
    tasks: &Tasks,
    reader: &CancellationToken,
) -> Result<(), Lost> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(INBOUND_MAX))
        .max_frame_size(Some(INBOUND_MAX));
    let (socket, answer) =
        connect_async_with_config(url, Some(config), true).await.map_err(Lost::new)?;
    // The library checks all else that RFC 6455 §4.1 asks of the answer, but not its item 5.
    if answer.headers().contains_key("Sec-WebSocket-Extensions") {
        return Err(Lost::new("gateway uses a WebSocket extension that was not asked for"));
    }
    let (sink, stream) = socket.split();
    let Ends { mut outgoing, incoming } = ends;
    let stop = tasks.stop.clone();
    tasks.tracker.spawn(async move {
        stop.run_until_cancelled(write(sink, &mut outgoing)).await;
    });
    let stop = reader.clone();
    tasks.tracker.spawn(async move {
        let read = async {
            let lost = read(stream, &incoming).await;
            // The send fails where the connection was dropped, which is no fault.
            let _ = incoming.send(Err(lost)).await;
        };
        stop.run_until_cancelled(read).await;
    });
    Ok(())
}

async fn read(
    mut stream: SplitStream<Socket>,
    incoming: &tokio::sync::mpsc::Sender<Result<Packet, Lost>>,
) -> Lost {
    loop {
        let bytes = match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Close(None))) => return Lost::closed(None, ""),
            Some(Ok(Message::Close(Some(close)))) => {
                return Lost::closed(Some(close.code.into()), &close.reason);
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Lost::new(error),
            None => return Lost::closed(None, ""),
        };
        match Packet::decode(bytes) {
            Ok(packet) => {
                if incoming.send(Ok(packet)).await.is_err() {
                    return Lost::new("not listening");
                }
            }
            Err(error) => return error.into(),
        }
    }
}

/// Sends what is queued, flushing when the queue is empty; then says good-bye.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    outgoing: &mut tokio::sync::mpsc::Receiver<Bytes>,
) {
    while let Some(first) = outgoing.recv().await {
        let sent = async {
            sink.feed(Message::Binary(first)).await?;
            while let Ok(more) = outgoing.try_recv() {
                sink.feed(Message::Binary(more)).await?;
            }
            sink.flush().await
        };
        // The reader notices the same trouble and reports it.
        let Ok(Ok(())) = timeout_at(Instant::now() + WRITE_TIMEOUT, sent).await else { return };
    }
    let _ = timeout_at(Instant::now() + WRITE_TIMEOUT, sink.close()).await;
}
