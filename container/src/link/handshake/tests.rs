use std::time::Duration;

use imago_proto::link::State;
use tokio::{net::TcpListener, time::timeout};

use super::*;

fn credentials(secret: &str) -> Credentials {
    Credentials { cluster: "test".into(), secret: secret.as_bytes().into() }
}

fn ours() -> Credentials {
    credentials("a secret of the cluster")
}

fn identity(id: &str, role: Role) -> Identity {
    let peer = PeerId { service_id: ServiceId::from(id), incarnation: Incarnation(7) };
    Identity { service: "any".into(), peer, role }
}

async fn dialling(stream: &mut TcpStream) -> Result<Established, HandshakeError> {
    let own = identity("gateway-1", Role::Gateway);
    soon(dial(stream, &own, &ours(), &"logic-1".into())).await
}

async fn listening(mut stream: TcpStream) -> Result<Established, HandshakeError> {
    let own = identity("logic-1", Role::Logic);
    let established =
        soon(listen(&mut stream, &own, &ours(), ServerState::Young, &mut None)).await?;
    let state = State { state: ServerState::Adult.into(), excluded: vec!["g".into(); 5000] };
    Wire::new(&mut stream).send(Kind::State(state)).await?;
    Ok(established)
}

/// Both ends of a connection.
async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (dialled, listener.accept().await.unwrap().0)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("it ends in time")
}

fn reason(error: &HandshakeError) -> Option<RefusedReason> {
    match error {
        HandshakeError::Refused { reason, .. } | HandshakeError::RefusedByPeer { reason, .. } => {
            Some(*reason)
        }
        HandshakeError::Io(_) => None,
    }
}

/// Dials somebody who answers the hello with what `answer` makes of it.
async fn dial_one_who_answers(
    answer: impl FnOnce(Hello) -> HelloAck + Send + 'static,
) -> HandshakeError {
    let (mut dialled, mut listened) = connected().await;
    let peer = tokio::spawn(async move {
        let mut wire = Wire::new(&mut listened);
        let Ok(Kind::Hello(hello)) = wire.receive().await else { panic!("no hello") };
        wire.send(Kind::HelloAck(answer(hello))).await.unwrap();
        // Until the other side hangs up.
        while wire.receive().await.is_ok() {}
    });
    let Err(error) = dialling(&mut dialled).await else { panic!("it was believed") };
    drop(dialled);
    soon(peer).await.unwrap();
    error
}

fn ack(hello: Hello, state: ServerState, mac: Vec<u8>) -> HelloAck {
    HelloAck { hello: Some(hello), version: VERSION_MAX, mac, state: state.into() }
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (mut dialled, listened) = connected().await;
    let listener = tokio::spawn(listening(listened));
    let established = dialling(&mut dialled).await.unwrap();
    assert_eq!(established.peer, identity("logic-1", Role::Logic).peer);
    assert_eq!(established.state, ServerState::Adult);
    let their = listener.await.unwrap().unwrap();
    assert_eq!(their.peer, identity("gateway-1", Role::Gateway).peer);
}

#[tokio::test]
async fn a_dialler_that_has_proved_itself_may_still_be_refused() {
    let (mut dialled, mut listened) = connected().await;
    let listener = tokio::spawn(async move {
        let own = identity("logic-1", Role::Logic);
        listen(&mut listened, &own, &ours(), ServerState::Adult, &mut None).await.unwrap();
        refuse(&mut listened, RefusedReason::Duplicate, "one is enough").await;
    });
    let Err(error) = dialling(&mut dialled).await else { panic!("it was taken") };
    assert_eq!(reason(&error), Some(RefusedReason::Duplicate));
    soon(listener).await.unwrap();
}

#[tokio::test]
async fn another_version_than_the_agreed_one_is_refused() {
    let error = dial_one_who_answers(|hello| {
        let own = identity("logic-1", Role::Logic).hello(&ours());
        let mac = ours().mac(b"listen", &hello, &own, ServerState::Adult);
        HelloAck { version: VERSION_MAX + 1, ..ack(own, ServerState::Adult, mac) }
    });
    assert_eq!(reason(&error.await), Some(RefusedReason::Version));
}

#[tokio::test]
async fn a_listener_without_the_secret_is_refused() {
    let error = dial_one_who_answers(|hello| {
        let own = identity("logic-1", Role::Logic).hello(&ours());
        let mac = credentials("guessed").mac(b"listen", &hello, &own, ServerState::Adult);
        ack(own, ServerState::Adult, mac)
    });
    assert_eq!(reason(&error.await), Some(RefusedReason::Mac));
}

#[tokio::test]
async fn a_proof_of_an_earlier_handshake_proves_nothing() {
    let error = dial_one_who_answers(|_| {
        // Somebody who has listened to another handshake knows this much.
        let earlier = identity("gateway-1", Role::Gateway).hello(&ours());
        let own = identity("logic-1", Role::Logic).hello(&ours());
        let mac = ours().mac(b"listen", &earlier, &own, ServerState::Adult);
        ack(own, ServerState::Adult, mac)
    });
    assert_eq!(reason(&error.await), Some(RefusedReason::Mac));
}

#[tokio::test]
async fn the_state_in_the_answer_cannot_be_changed_on_the_way() {
    let error = dial_one_who_answers(|hello| {
        let own = identity("logic-1", Role::Logic).hello(&ours());
        let mac = ours().mac(b"listen", &hello, &own, ServerState::Young);
        ack(own, ServerState::Adult, mac)
    });
    assert_eq!(reason(&error.await), Some(RefusedReason::Mac));
}

#[tokio::test]
async fn another_server_than_the_dialled_one_is_refused() {
    let error = dial_one_who_answers(|hello| {
        let own = identity("logic-2", Role::Logic).hello(&ours());
        let mac = ours().mac(b"listen", &hello, &own, ServerState::Adult);
        ack(own, ServerState::Adult, mac)
    });
    assert_eq!(reason(&error.await), Some(RefusedReason::Identity));
}

/// What a listener says to a dialler who sends these frames.
async fn listener_meets(frames: Vec<Kind>) -> HandshakeError {
    let (mut dialled, listened) = connected().await;
    let mut wire = Wire::new(&mut dialled);
    for frame in frames {
        wire.send(frame).await.unwrap();
    }
    let Err(error) = listening(listened).await else { panic!("it was believed") };
    error
}

#[tokio::test]
async fn a_dialler_cannot_send_the_listeners_proof_back() {
    let (mut dialled, listened) = connected().await;
    let listener = tokio::spawn(listening(listened));
    let mut wire = Wire::new(&mut dialled);
    let hello = identity("gateway-1", Role::Gateway).hello(&ours());
    wire.send(Kind::Hello(hello)).await.unwrap();
    let Ok(Kind::HelloAck(HelloAck { mac, .. })) = wire.receive().await else { panic!("no ack") };
    wire.send(Kind::HelloConfirm(HelloConfirm { mac })).await.unwrap();
    let Err(error) = listener.await.unwrap() else { panic!("it was believed") };
    assert_eq!(reason(&error), Some(RefusedReason::Mac));
}

#[tokio::test]
async fn a_dialler_with_another_role_nonce_or_order_is_refused() {
    let good = identity("gateway-1", Role::Gateway).hello(&ours());
    let role = Hello { role: Role::Logic.into(), ..good.clone() };
    let nonce = Hello { nonce: vec![0; 31], ..good.clone() };
    let nobody = Hello { service_id: String::new(), ..good.clone() };
    let confirm = Kind::HelloConfirm(HelloConfirm { mac: vec![0; 32] });
    for (frames, expected) in [
        (vec![Kind::Hello(role)], RefusedReason::Role),
        (vec![Kind::Hello(nonce)], RefusedReason::Malformed),
        (vec![Kind::Hello(nobody)], RefusedReason::Malformed),
        (vec![confirm.clone()], RefusedReason::Malformed),
        (vec![Kind::Hello(good.clone()), confirm], RefusedReason::Mac),
        (vec![Kind::Hello(good.clone()), Kind::Hello(good)], RefusedReason::Malformed),
    ] {
        assert_eq!(reason(&listener_meets(frames).await), Some(expected));
    }
}

#[tokio::test]
async fn a_long_frame_before_the_proof_is_refused_by_its_length() {
    let (mut dialled, listened) = connected().await;
    dialled.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let Err(error) = listening(listened).await else { panic!("it was believed") };
    assert_eq!(reason(&error), Some(RefusedReason::Malformed));
}
