//! One connection of the test server, by WebSocket or TCP.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use imago_proto::{Frame, Limits, Opcode, Packet, tcp, ws};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use super::World;

/// What a connection is to send.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    Packet(Bytes),
    Close(u16),
    Cut,
}

pub(crate) async fn serve(scheme: &str, stream: TcpStream, world: Arc<Mutex<World>>) {
    let (out, outgoing) = mpsc::unbounded_channel();
    let mut session = None;
    let on = |session: &mut Option<u64>, packet| {
        world.lock().unwrap().on(session, &out, packet);
    };
    if scheme == "ws" {
        serve_ws(stream, outgoing, |packet| on(&mut session, packet)).await;
    } else {
        serve_tcp(stream, outgoing, |packet| on(&mut session, packet)).await;
    }
    world.lock().unwrap().sessions.retain(|s| Some(s.number) != session);
}

async fn serve_ws(
    stream: TcpStream,
    mut outgoing: mpsc::UnboundedReceiver<Out>,
    mut on: impl FnMut(Packet),
) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => on(Packet::decode(bytes).unwrap()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            Some(out) = outgoing.recv() => match out {
                Out::Packet(packet) => {
                    let _ = socket.send(Message::Binary(packet)).await;
                }
                Out::Close(code) => {
                    let frame = CloseFrame { code: code.into(), reason: "as asked".into() };
                    let _ = socket.close(Some(frame)).await;
                }
                Out::Cut => return,
            },
        }
    }
}

async fn serve_tcp(
    mut stream: TcpStream,
    mut outgoing: mpsc::UnboundedReceiver<Out>,
    mut on: impl FnMut(Packet),
) {
    let (mut buffer, mut decoder) = (BytesMut::new(), tcp::Decoder::new(Limits::default()));
    loop {
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                    match frame.opcode {
                        Opcode::Binary => on(Packet::decode(frame.payload).unwrap()),
                        Opcode::Close => return,
                        _ => {}
                    }
                }
            }
            Some(out) = outgoing.recv() => {
                let frame = match out {
                    Out::Packet(packet) => Frame::binary(packet),
                    Out::Close(code) => {
                        Frame { opcode: Opcode::Close, payload: ws::close_payload(code, "as asked") }
                    }
                    Out::Cut => return,
                };
                let mut bytes = BytesMut::new();
                tcp::encode(&frame, &mut bytes).unwrap();
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}
