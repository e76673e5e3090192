//! The client's wire with as little as possible around it, so that the servers are measured and
//! not the load.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use imago_proto::{
    BasicPacket, Frame, Limits, LogicPacket, Opcode, Packet, Status, command,
    msg::{Flag, LoginReq},
    ws,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use super::failure::{Ended, Failure, NotIn};

/// How long a client waits until it is connected or logged in, as those of the wire do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);
/// Room for what one read takes: some messages, and not much where ten thousand clients read.
pub(crate) const READ: usize = 4096;
/// The same for a client that hears next to nothing.
const READ_LITTLE: usize = 64;

/// A client's reading side.
pub(crate) struct Reader {
    socket: OwnedReadHalf,
    decoder: ws::Decoder,
    buffer: BytesMut,
    /// For what one read takes.
    room: usize,
}

/// A client's writing side.
pub(crate) struct Writer {
    socket: OwnedWriteHalf,
}

/// Connects a WebSocket on which nothing has been said.
pub(crate) async fn open(url: &str) -> Result<(Reader, Writer), NotIn> {
    in_time(url, upgrade(url)).await
}

/// Connects and logs in.
pub(crate) async fn connect(url: &str, token: &str) -> Result<(Reader, Writer), NotIn> {
    in_time(url, log_in(url, token)).await
}

async fn in_time<T>(
    url: &str,
    connecting: impl Future<Output = Result<T, Failure>>,
) -> Result<T, NotIn> {
    let connected = timeout(PATIENCE, connecting).await.unwrap_or(Err(Failure::NoAnswer));
    connected.map_err(|failure| NotIn { url: url.to_owned(), failure })
}

async fn upgrade(url: &str) -> Result<(Reader, Writer), Failure> {
    let request = url.into_client_request().map_err(|_| Failure::Url)?;
    let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, request.uri().port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(Failure::Connect)?;
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    let (socket, _) = client_async(request, stream).await.map_err(Failure::upgrade)?;
    // Servers say nothing before the client does, so nothing is left in the library's buffer.
    let (read, write) = socket.into_inner().into_split();
    let decoder = ws::Decoder::new(ws::Peer::Server, Limits::default());
    let reader = Reader { socket: read, decoder, buffer: BytesMut::new(), room: READ };
    Ok((reader, Writer { socket: write }))
}

async fn log_in(url: &str, token: &str) -> Result<(Reader, Writer), Failure> {
    let (mut reader, mut writer) = upgrade(url).await?;
    let login = LoginReq { token: token.to_owned(), ..LoginReq::default() };
    let login = LogicPacket::request(command::LOGIN_SIGNIN, 1, "", login.encode_to_vec().into());
    writer.send([login.encode()]).await.map_err(|error| Failure::Ended(Ended::Cut(error)))?;
    let answer = reader.next().await.map_err(Failure::Ended)?;
    let status = answer.header.status;
    if status != Status::Success.code() {
        return Err(Failure::Refused(status));
    }
    Ok((reader, writer))
}

/// Says goodbye, and waits until the gateway has closed.
pub(crate) async fn close((mut reader, mut writer): (Reader, Writer)) {
    // Gone already is as good.
    let _ = timeout(GOODBYE_PATIENCE, async {
        writer.say_goodbye().await?;
        reader.ended().await;
        io::Result::Ok(())
    })
    .await;
}

/// Reads what has arrived, up to `room` bytes or somewhat more. Zero bytes: the other side has
/// closed.
pub(crate) async fn fill(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    room: usize,
) -> io::Result<usize> {
    // Otherwise an empty buffer grows by a few bytes, and each message takes several reads.
    buffer.reserve(room);
    socket.read_buf(buffer).await
}

impl Reader {
    /// Keeps little memory from now on, for what comes now and then.
    pub(crate) fn read_little(&mut self) {
        self.room = READ_LITTLE;
        self.buffer = BytesMut::from(&*self.buffer);
    }

    /// The next request's answer or push. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<LogicPacket, Ended> {
        loop {
            if let Packet::Logic(packet) = self.next_packet().await? {
                return Ok(packet);
            }
        }
    }

    /// Why the connection ended, once it does; what comes before is thrown away.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }

    /// The next packet, pongs included. Cancel safe.
    pub(crate) async fn next_packet(&mut self) -> Result<Packet, Ended> {
        Packet::decode(self.message().await?).map_err(Ended::wrong)
    }

    /// The next message, whatever it says. Cancel safe.
    pub(crate) async fn message(&mut self) -> Result<Bytes, Ended> {
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer).map_err(Ended::wrong)? {
                match frame.opcode {
                    Opcode::Close => {
                        let code = ws::close_code(&frame.payload).unwrap_or_default();
                        return Err(Ended::Closed(code));
                    }
                    Opcode::Binary => return Ok(frame.payload),
                    _ => {}
                }
            }
            let filled = fill(&mut self.socket, &mut self.buffer, self.room).await;
            if filled.map_err(Ended::Cut)? == 0 {
                return Err(Ended::Cut(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Writer {
    /// Sends packets in one write.
    pub(crate) async fn send(
        &mut self,
        packets: impl IntoIterator<Item = Bytes>,
    ) -> io::Result<()> {
        self.socket.write_all(&masked(packets)).await
    }

    /// The same; says whether the connection took all of it at once.
    pub(crate) async fn send_at_once(
        &mut self,
        packets: impl IntoIterator<Item = Bytes>,
    ) -> io::Result<bool> {
        let bytes = masked(packets);
        let taken = match self.socket.try_write(&bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            taken => taken?,
        };
        let rest = bytes.get(taken..).unwrap_or_default();
        self.socket.write_all(rest).await?;
        Ok(rest.is_empty())
    }

    /// Asks whether the gateway is there.
    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.send([BasicPacket::PING.encode()]).await
    }

    async fn say_goodbye(&mut self) -> io::Result<()> {
        // Code 1000 (RFC 6455 §7.4.1): normal.
        let payload = Bytes::from_static(&[0x03, 0xe8]);
        let mut bytes = BytesMut::new();
        ws::encode_masked(&Frame { opcode: Opcode::Close, payload }, [1, 2, 3, 4], &mut bytes);
        self.socket.write_all(&bytes).await
    }
}

fn masked(packets: impl IntoIterator<Item = Bytes>) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        // The key hides nothing from anybody on this machine; any will do.
        ws::encode_masked(&Frame::binary(packet), [1, 2, 3, 4], &mut bytes);
    }
    bytes
}

/// Whether a packet is a push.
pub(crate) fn is_push(packet: &LogicPacket) -> bool {
    packet.header.flag() == Flag::Push
}
