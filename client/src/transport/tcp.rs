//! The plain TCP transport.

use bytes::{Bytes, BytesMut};
use imago_proto::{Frame, Limits, Opcode, Packet, tcp, ws};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Ends, INBOUND_MAX, Lost, Tasks, WRITE_TIMEOUT};

/// Bytes to collect before one write.
const CHUNK: usize = 16 << 10;

pub(super) async fn open(
    authority: &str,
    ends: Ends,
    tasks: &Tasks,
    reader: &CancellationToken,
) -> Result<(), Lost> {
    let stream = TcpStream::connect(authority).await.map_err(Lost::new)?;
    stream.set_nodelay(true).map_err(Lost::new)?;
    let (read_half, write_half) = stream.into_split();
    let Ends { mut outgoing, incoming } = ends;
    // Pongs that the reader owes; one more than can be waiting is not needed.
    let (pong, mut pongs) = mpsc::channel(1);
    let stop = tasks.stop.clone();
    tasks.tracker.spawn(async move {
        stop.run_until_cancelled(write(write_half, &mut outgoing, &mut pongs)).await;
    });
    let stop = reader.clone();
    tasks.tracker.spawn(async move {
        let read = async {
            let lost = read(read_half, &incoming, &pong).await;
            // The send fails where the connection was dropped, which is no fault.
            let _ = incoming.send(Err(lost)).await;
        };
        stop.run_until_cancelled(read).await;
    });
    Ok(())
}

async fn read(
    mut half: OwnedReadHalf,
    incoming: &mpsc::Sender<Result<Packet, Lost>>,
    pong: &mpsc::Sender<Bytes>,
) -> Lost {
    let mut buffer = BytesMut::with_capacity(4 << 10);
    let mut decoder = tcp::Decoder::new(Limits { payload: INBOUND_MAX });
    loop {
        while let Some(frame) = match decoder.decode(&mut buffer) {
            Ok(frame) => frame,
            Err(error) => return Lost::new(format!("gateway sent what is no frame: {error}")),
        } {
            let packet = match frame.opcode {
                Opcode::Binary | Opcode::Text if !frame.payload.is_empty() => {
                    Packet::decode(frame.payload)
                }
                Opcode::Ping => {
                    // Full: a pong is about to be sent anyway.
                    let _ = pong.try_send(frame.payload);
                    continue;
                }
                Opcode::Close => {
                    let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or(&[]));
                    return Lost::closed(ws::close_code(&frame.payload), &reason);
                }
                _ => continue,
            };
            match packet {
                Ok(packet) => {
                    if incoming.send(Ok(packet)).await.is_err() {
                        return Lost::new("not listening");
                    }
                }
                Err(error) => return error.into(),
            }
        }
        match half.read_buf(&mut buffer).await {
            Ok(0) => return Lost::closed(None, ""),
            Ok(_) => {}
            Err(error) => return Lost::new(error),
        }
    }
}

/// Sends what is queued, in as few writes as possible; then says good-bye.
async fn write(
    mut half: OwnedWriteHalf,
    outgoing: &mut mpsc::Receiver<Bytes>,
    pongs: &mut mpsc::Receiver<Bytes>,
) {
    let mut buffer = BytesMut::new();
    loop {
        let first = tokio::select! {
            packet = outgoing.recv() => match packet {
                Some(packet) => Frame::binary(packet),
                None => break,
            },
            Some(payload) = pongs.recv() => Frame { opcode: Opcode::Pong, payload },
        };
        let mut frame = Some(first);
        while let Some(next) = frame {
            if tcp::encode(&next, &mut buffer).is_err() {
                return;
            }
            let room = buffer.len() < CHUNK;
            frame = if room { outgoing.try_recv().ok().map(Frame::binary) } else { None };
        }
        if !flush(&mut half, &mut buffer).await {
            return;
        }
    }
    let close = Frame { opcode: Opcode::Close, payload: Bytes::new() };
    if tcp::encode(&close, &mut buffer).is_ok() {
        flush(&mut half, &mut buffer).await;
    }
}

/// Returns whether it could be written; if not, the reader notices the same trouble and reports it.
async fn flush(half: &mut OwnedWriteHalf, buffer: &mut BytesMut) -> bool {
    let written = timeout_at(Instant::now() + WRITE_TIMEOUT, half.write_all_buf(buffer)).await;
    matches!(written, Ok(Ok(())))
}
