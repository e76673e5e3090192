use std::{io::Write as _, pin::pin, sync::Mutex};

use bytes::Bytes;
use futures::poll;
use imago_proto::{Incarnation, link::Push};
use tokio::{io::AsyncWriteExt, net::TcpListener, task::yield_now};

use super::{super::Queue, *};
use crate::PeerId;

/// Notes what comes.
#[derive(Default)]
struct Notes {
    frames: Mutex<Vec<LinkFrame>>,
    confirmed: Mutex<usize>,
}

#[async_trait]
impl FrameSink for Notes {
    async fn frame(&self, _: &Arc<Link>, frame: LinkFrame) {
        self.frames.lock().unwrap().push(frame);
    }

    fn stamp(&self) -> Stamp {
        Stamp(7)
    }

    fn heard(&self, _: Stamp) {}

    fn confirmed(&self, _: &Arc<Link>) {
        *self.confirmed.lock().unwrap() += 1;
    }
}

fn link() -> Arc<Link> {
    let peer = PeerId { service_id: "logic-1".into(), incarnation: Incarnation(1) };
    Arc::new(Link::new(peer, Arc::new(Queue::new(10, 100_000)), CancellationToken::new()))
}

/// The near and the far end of a connection.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

fn pong(id: u64) -> Kind {
    Kind::Pong(Pong { id, stamp: 0 })
}

/// A number of pushes, as they lie on the wire.
fn pushes(count: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    for number in 0..count {
        let push = Kind::Push(Push { sessions: vec![number], ..Push::default() });
        LinkFrame::with_payload(push, Bytes::from(vec![0; 1000])).encode(&mut bytes);
    }
    bytes
}

#[tokio::test]
async fn what_other_tasks_have_ready_goes_in_the_same_write() {
    let (near, mut far) = connection().await;
    let (link, config, sink) = (link(), LinkConfig::default(), Notes::default());
    let (_read, write) = near.into_split();
    let mut writing = pin!(write_frames(write, &link, &config, &sink));

    link.try_send(pong(1)).unwrap();
    assert!(poll!(writing.as_mut()).is_pending());
    assert_eq!(link.queue().depth().0, 1, "it waits for those that are ready");
    link.try_send(pong(2)).unwrap();
    assert!(poll!(writing.as_mut()).is_pending());
    assert_eq!(link.queue().depth().0, 0);

    let mut received = BytesMut::new();
    tokio::select! {
        ended = writing => panic!("{ended:?}"),
        read = far.read_buf(&mut received) => assert!(read.unwrap() > 0),
    }
    let mut decoder = LinkDecoder::new(Limits { payload: config.frame_max });
    for id in [1, 2] {
        let frame = decoder.decode(&mut received).unwrap().unwrap();
        assert_eq!(frame.kind, pong(id));
    }
}

#[tokio::test]
async fn what_lies_in_the_socket_is_read_before_the_reactor_tells_of_it() {
    let (near, far) = connection().await;
    let (read, _write) = near.into_split();
    let mut far = far.into_std().unwrap();
    // The thread does not come to the reactor from here on.
    let mut buffer = BytesMut::from(&b"before"[..]);
    assert_eq!(read_now(&read, &mut buffer).unwrap(), None);
    far.set_nonblocking(false).unwrap();
    far.write_all(b"hello").unwrap();
    let mut got = None;
    while got.is_none() {
        got = read_now(&read, &mut buffer).unwrap();
    }
    assert_eq!((got, &buffer[..]), (Some(5), &b"beforehello"[..]));
    assert_eq!(read_now(&read, &mut buffer).unwrap(), None);
    drop(far);
    while got != Some(0) {
        got = read_now(&read, &mut buffer).unwrap();
    }
    assert_eq!(&buffer[..], b"beforehello");
}

/// The far end resets the connection, as one does that is closed while unread bytes wait there.
#[tokio::test]
async fn what_a_peer_sent_before_it_closed_is_read_where_nothing_can_be_written() {
    for _ in 0..10 {
        let (mut near, mut far) = connection().await;
        near.write_all(b"unread").await.unwrap();
        far.readable().await.unwrap();
        far.write_all(&pushes(100)).await.unwrap();
        drop(far);
        let (link, config, sink) = (link(), LinkConfig::default(), Notes::default());
        // Until the reset has come, which the first write notices.
        while near.write(b"x").await.is_ok() {
            yield_now().await;
        }
        link.try_send(pong(1)).unwrap();
        run(near, BytesMut::new(), &link, &config, &sink).await;
        assert_eq!(sink.frames.lock().unwrap().len(), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_silent() {
    let (near, _far) = connection().await;
    let (link, config, sink) = (link(), LinkConfig::default(), Notes::default());
    let begun = Instant::now();
    let why = run(near, BytesMut::new(), &link, &config, &sink).await;
    assert_eq!(why, "peer silent for 5s");
    assert_eq!(begun.elapsed().as_secs(), config.ping_timeout.as_secs());
}

#[tokio::test]
async fn a_timer_that_is_late_begins_anew() {
    let patience = Duration::from_millis(40);
    let mut waiting = pin!(patiently(patience, std::future::pending::<()>()));
    let begun = Instant::now();
    assert!(poll!(waiting.as_mut()).is_pending());
    // The whole process stands still.
    std::thread::sleep(patience * 2);
    assert!(waiting.await.is_err());
    assert!(begun.elapsed() >= patience * 3, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_doubted_link_is_confirmed_by_the_answer_to_a_later_ping() {
    let (near, mut far) = connection().await;
    let (link, config, sink) = (link(), LinkConfig::default(), Notes::default());
    let Kind::Ping(early) = link.ping(Stamp(1)) else { panic!("no ping") };
    link.doubt(Stamp(2));
    let answers = async {
        let mut bytes = BytesMut::new();
        LinkFrame::new(pong(early.id)).encode(&mut bytes);
        far.write_all(&bytes).await.unwrap();
        let (mut received, mut decoder) =
            (BytesMut::new(), LinkDecoder::new(Limits { payload: config.frame_max }));
        let ping = loop {
            match decoder.decode(&mut received).unwrap().map(|frame| frame.kind) {
                Some(Kind::Ping(ping)) => break ping,
                Some(other) => panic!("{other:?}"),
                None => assert!(far.read_buf(&mut received).await.unwrap() > 0),
            }
        };
        assert!(link.is_doubted());
        bytes.clear();
        LinkFrame::new(pong(ping.id)).encode(&mut bytes);
        far.write_all(&bytes).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let (why, ()) = tokio::join!(run(near, BytesMut::new(), &link, &config, &sink), answers);
    assert_eq!(why, "peer closed");
    assert_eq!((link.is_doubted(), *sink.confirmed.lock().unwrap()), (false, 1));
}
