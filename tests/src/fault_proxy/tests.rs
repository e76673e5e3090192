use tokio::{io::AsyncWriteExt, time::timeout};

use super::*;

/// Long enough for bytes that pass, and for those that do not to be missed.
const SOON: Duration = Duration::from_millis(200);

struct Scene {
    proxy: FaultProxy,
    dialer: TcpStream,
    server: TcpStream,
}

async fn scene() -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::of_bytes().await;
    proxy.lead_to(listener.local_addr().unwrap().to_string());
    let dialer = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    Scene { proxy, dialer, server }
}

/// What arrives soon; `None` for an end by reset, nothing for silence and for an end in good order.
async fn arrives(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = BytesMut::new();
    match timeout(SOON, stream.read_buf(&mut bytes)).await {
        Ok(Err(_)) => None,
        Ok(Ok(0)) => Some("end".to_owned()),
        Ok(Ok(_)) | Err(_) => Some(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[tokio::test]
async fn what_is_held_passes_after_healing_and_the_other_way_is_open_all_the_time() {
    let Scene { proxy, mut dialer, mut server } = scene().await;
    dialer.write_all(b"one").await.unwrap();
    assert_eq!(arrives(&mut server).await.unwrap(), "one");
    proxy.set(Way::Forth, Pass::Hold);
    dialer.write_all(b"two").await.unwrap();
    assert_eq!(arrives(&mut server).await.unwrap(), "");
    server.write_all(b"three").await.unwrap();
    assert_eq!(arrives(&mut dialer).await.unwrap(), "three");
    proxy.heal();
    assert_eq!(arrives(&mut server).await.unwrap(), "two");
}

#[tokio::test]
async fn a_connection_that_lost_bytes_is_reset_by_healing_and_one_that_lost_none_goes_on() {
    let Scene { proxy, mut dialer, mut server } = scene().await;
    proxy.set_both(Pass::Drop);
    tokio::time::sleep(SOON).await;
    proxy.heal();
    server.write_all(b"none lost").await.unwrap();
    assert_eq!(arrives(&mut dialer).await.unwrap(), "none lost");
    proxy.set_both(Pass::Drop);
    server.write_all(b"lost").await.unwrap();
    assert_eq!(arrives(&mut dialer).await.unwrap(), "");
    proxy.heal();
    assert_eq!(arrives(&mut dialer).await, None);
    assert_eq!(arrives(&mut server).await, None);
}

#[tokio::test]
async fn delayed_bytes_come_late_and_in_order() {
    let Scene { proxy, mut dialer, mut server } = scene().await;
    proxy.set(Way::Back, Pass::Delay(SOON * 2));
    // Followed by the connection before there are bytes.
    tokio::time::sleep(SOON / 4).await;
    server.write_all(b"late").await.unwrap();
    assert_eq!(arrives(&mut dialer).await.unwrap(), "");
    proxy.heal();
    server.write_all(b" and later").await.unwrap();
    let mut both = [0; 14];
    timeout(SOON * 10, dialer.read_exact(&mut both)).await.unwrap().unwrap();
    assert_eq!(&both, b"late and later");
}

#[tokio::test]
async fn connections_end_as_they_are_told_to_and_new_ones_pass() {
    let Scene { proxy, mut dialer, mut server } = scene().await;
    proxy.close();
    assert_eq!(arrives(&mut dialer).await.unwrap(), "end");
    assert_eq!(arrives(&mut server).await.unwrap(), "end");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.lead_to(listener.local_addr().unwrap().to_string());
    let mut dialer = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    dialer.write_all(b"hello").await.unwrap();
    assert_eq!(arrives(&mut server).await.unwrap(), "hello");
    proxy.reset();
    assert_eq!(arrives(&mut dialer).await, None);
    assert_eq!(arrives(&mut server).await, None);
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    let Scene { proxy, mut dialer, server } = scene().await;
    let write = async {
        loop {
            dialer.write_all(&[0; 1 << 16]).await.unwrap();
        }
    };
    assert!(timeout(SOON * 10, write).await.is_err());
    drop((proxy, server));
}
