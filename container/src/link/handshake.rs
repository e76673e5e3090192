//! How both ends of a link prove that they belong to the same cluster.
//!
//! Hello (gateway) → HelloAck with a MAC (logic) → HelloConfirm with a MAC (gateway) → State, or
//! Refused (logic). Each MAC is HMAC-SHA256 (RFC 2104) over both hellos, so over both nonces, ids,
//! roles and incarnations.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use hmac::{Hmac, KeyInit, Mac};
use imago_proto::{
    Incarnation, Limits, LinkDecoder, LinkFrame, ServiceId,
    link::{Hello, HelloAck, HelloConfirm, Refused, RefusedReason, Role, ServerState, frame::Kind},
};
use rand::Rng;
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::PeerId;

/// Oldest version of the inner protocol that this build speaks. Since 2, a sync tells many sessions in
/// a frame; since 3, what each is found by stands in front of the rest of it; since 4, logins are
/// ordered by stamps.
pub(crate) const VERSION_MIN: u32 = 4;
/// Newest version of the inner protocol that this build speaks.
pub(crate) const VERSION_MAX: u32 = 4;
/// Bytes of a nonce.
const NONCE_LEN: usize = 32;
/// Largest frame before the peer has proved itself.
const HELLO_MAX: usize = 4096;
/// Largest frame of a peer that has proved itself: a state names all excluded gateways.
const STATE_MAX: usize = 1 << 20;
/// Longest id of a peer that has not proved itself, for logs and reports.
const CLAIM_MAX: usize = 128;
/// How long telling a peer why it is refused may take.
const REFUSAL: Duration = Duration::from_secs(1);

/// What every server of a cluster shares.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) cluster: Arc<str>,
    pub(crate) secret: Arc<[u8]>,
}

/// Who this process is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) service: Arc<str>,
    pub(crate) peer: PeerId,
    pub(crate) role: Role,
}

/// A peer that proved itself, and what it sent after that.
pub(crate) struct Established {
    pub(crate) peer: PeerId,
    pub(crate) state: ServerState,
    pub(crate) received: BytesMut,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// We refuse the peer.
    #[error("peer refused: {detail}")]
    Refused { reason: RefusedReason, detail: String },
    /// The peer refuses us.
    #[error("refused by peer ({}): {detail}", reason.as_str_name())]
    RefusedByPeer {
        reason: RefusedReason,
        detail: String,
        /// Another life of our id that has a link there, and where that life is.
        holder: Option<(Incarnation, String)>,
    },
    /// The connection broke.
    #[error("the connection broke off in the handshake: {0}")]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// What a peer says that refuses us.
    pub(crate) fn by_peer(told: Refused) -> Self {
        let reason = told.reason();
        let Refused { detail, holder, holder_address, .. } = told;
        let holder =
            (reason == RefusedReason::Held).then_some((Incarnation(holder), holder_address));
        Self::RefusedByPeer { reason, detail, holder }
    }
}

/// The gateway's side. `expected` is the server that the registry has at this address. Returns when
/// the server has taken the link: it may still refuse a gateway that has proved itself.
pub(crate) async fn dial(
    stream: &mut TcpStream,
    own: &Identity,
    credentials: &Credentials,
    expected: &ServiceId,
) -> Result<Established, HandshakeError> {
    let mut wire = Wire::new(stream);
    let (hello, their) = wire.greet(own, credentials, expected).await?;
    let mac = credentials.mac(b"dial", &hello, &their, ServerState::Young);
    wire.send(Kind::HelloConfirm(HelloConfirm { mac })).await?;
    wire.decoder = LinkDecoder::new(Limits { payload: STATE_MAX });
    let state = match wire.receive().await? {
        Kind::State(state) => state.state(),
        other => return Err(unexpected(&other)),
    };
    Ok(Established { peer: peer_of(&their), state, received: wire.buffer })
}

/// Asks a logic server who it is: the first half of [`dial`], after which it has no link. The answer
/// proves that it belongs to the cluster.
pub(crate) async fn ask(
    stream: &mut TcpStream,
    own: &Identity,
    credentials: &Credentials,
    expected: &ServiceId,
) -> Result<PeerId, HandshakeError> {
    let (_, their) = Wire::new(stream).greet(own, credentials, expected).await?;
    Ok(peer_of(&their))
}

/// The logic server's side. `claimed` becomes who the peer says it is, before it has proved
/// anything.
pub(crate) async fn listen(
    stream: &mut TcpStream,
    own: &Identity,
    credentials: &Credentials,
    state: ServerState,
    claimed: &mut Option<ServiceId>,
) -> Result<Established, HandshakeError> {
    let mut wire = Wire::new(stream);
    let checked = match wire.receive().await? {
        Kind::Hello(hello) => {
            *claimed = claim(&hello);
            check_hello(&hello, Role::Gateway, credentials).map(|version| (hello, version))
        }
        other => Err(unexpected(&other)),
    };
    let (their, version) = match checked {
        Ok(accepted) => accepted,
        Err(error) => return Err(wire.refuse(error).await),
    };
    let hello = own.hello(credentials);
    let mac = credentials.mac(b"listen", &their, &hello, state);
    let ack = HelloAck { hello: Some(hello.clone()), version, mac, state: state.into() };
    wire.send(Kind::HelloAck(ack)).await?;
    let confirmed = match wire.receive().await? {
        Kind::HelloConfirm(HelloConfirm { mac }) => {
            credentials.verify(b"dial", &their, &hello, ServerState::Young, &mac)
        }
        other => Err(unexpected(&other)),
    };
    if let Err(error) = confirmed {
        return Err(wire.refuse(error).await);
    }
    Ok(Established { peer: peer_of(&their), state: ServerState::Young, received: wire.buffer })
}

/// Tells a peer that passed the handshake why it gets no link all the same.
pub(crate) async fn refuse(stream: &mut TcpStream, reason: RefusedReason, detail: &str) {
    let refused = refused(reason, detail.to_owned());
    // A peer that does not listen need not know.
    let _ = timeout(REFUSAL, Wire::new(stream).refuse(refused)).await;
}

/// Tells a peer that passed the handshake that its id is held by another life, which is at `address`.
pub(crate) async fn refuse_for(stream: &mut TcpStream, holder: &PeerId, address: &str) {
    let detail = format!(
        "{} is linked as incarnation {} at {address}: give each server a service.id of its own",
        holder.service_id, holder.incarnation
    );
    let reason = RefusedReason::Held.into();
    let (holder, holder_address) = (holder.incarnation.0, address.to_owned());
    let refused = Refused { reason, detail, holder, holder_address };
    // A peer that does not listen need not know.
    let _ = timeout(REFUSAL, Wire::new(stream).send(Kind::Refused(refused))).await;
}

fn peer_of(hello: &Hello) -> PeerId {
    PeerId {
        service_id: ServiceId::from(hello.service_id.as_str()),
        incarnation: Incarnation(hello.incarnation),
    }
}

/// Who a peer says it is, where that is what an id may be.
fn claim(hello: &Hello) -> Option<ServiceId> {
    let id = hello.service_id.as_str();
    let is_id = (1..=CLAIM_MAX).contains(&id.len()) && !id.contains(char::is_control);
    is_id.then(|| ServiceId::from(id))
}

fn refused(reason: RefusedReason, detail: String) -> HandshakeError {
    HandshakeError::Refused { reason, detail }
}

fn unexpected(kind: &Kind) -> HandshakeError {
    if let Kind::Refused(refused) = kind {
        return HandshakeError::by_peer(refused.clone());
    }
    refused(RefusedReason::Malformed, "expected the next step of the handshake".to_owned())
}

/// Checks what needs no secret, and picks the version to speak.
fn check_hello(
    their: &Hello,
    role: Role,
    credentials: &Credentials,
) -> Result<u32, HandshakeError> {
    if their.cluster != *credentials.cluster {
        let detail = format!(
            "expected cluster {:?}, peer {:?} belongs to {:?}",
            credentials.cluster, their.service_id, their.cluster
        );
        return Err(refused(RefusedReason::Cluster, detail));
    }
    let version = VERSION_MAX.min(their.max_version);
    if version < VERSION_MIN || version < their.min_version {
        let detail = format!(
            "expected a protocol version from {VERSION_MIN} to {VERSION_MAX}, peer {:?} speaks {} to {}",
            their.service_id, their.min_version, their.max_version
        );
        return Err(refused(RefusedReason::Version, detail));
    }
    if their.role() != role {
        let detail = format!(
            "expected a {}, peer {:?} is a {}",
            role.as_str_name(),
            their.service_id,
            their.role().as_str_name()
        );
        return Err(refused(RefusedReason::Role, detail));
    }
    if their.nonce.len() != NONCE_LEN || their.service_id.is_empty() {
        let detail = format!("expected a service id and a nonce of {NONCE_LEN} bytes");
        return Err(refused(RefusedReason::Malformed, detail));
    }
    Ok(version)
}

fn check_ack(
    own: &Hello,
    ack: HelloAck,
    credentials: &Credentials,
    expected: &ServiceId,
) -> Result<Hello, HandshakeError> {
    let state = ack.state();
    let Some(their) = ack.hello else {
        return Err(refused(RefusedReason::Malformed, "expected a hello in the answer".to_owned()));
    };
    let version = check_hello(&their, Role::Logic, credentials)?;
    credentials.verify(b"listen", own, &their, state, &ack.mac)?;
    if their.service_id != expected.as_str() {
        let detail = format!("expected {expected}, {:?} answered", their.service_id);
        return Err(refused(RefusedReason::Identity, detail));
    }
    if ack.version != version {
        let detail = format!("expected protocol version {version}, peer chose {}", ack.version);
        return Err(refused(RefusedReason::Version, detail));
    }
    Ok(their)
}

impl HandshakeError {
    /// Returns whether one of the two sides wants no link with the other.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

impl Identity {
    fn hello(&self, credentials: &Credentials) -> Hello {
        let mut nonce = vec![0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        Hello {
            cluster: credentials.cluster.to_string(),
            min_version: VERSION_MIN,
            max_version: VERSION_MAX,
            service: self.service.to_string(),
            service_id: self.peer.service_id.to_string(),
            incarnation: self.peer.incarnation.0,
            role: self.role.into(),
            nonce,
        }
    }
}

impl Credentials {
    fn hmac(
        &self,
        label: &[u8],
        dialler: &Hello,
        listener: &Hello,
        state: ServerState,
    ) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.secret)
            .expect("HMAC takes keys of any length (RFC 2104 §2)");
        mac.update(label);
        mac.update(&[state as u8]);
        for hello in [dialler, listener] {
            let bytes = prost::Message::encode_to_vec(hello);
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(&bytes);
        }
        mac
    }

    fn mac(&self, label: &[u8], dialler: &Hello, listener: &Hello, state: ServerState) -> Vec<u8> {
        self.hmac(label, dialler, listener, state).finalize().into_bytes().to_vec()
    }

    /// Compares in constant time.
    fn verify(
        &self,
        label: &[u8],
        dialler: &Hello,
        listener: &Hello,
        state: ServerState,
        mac: &[u8],
    ) -> Result<(), HandshakeError> {
        self.hmac(label, dialler, listener, state).verify_slice(mac).map_err(|_| {
            let detail = "expected a proof of the cluster secret, got one of another: check cluster.secret on both sides";
            refused(RefusedReason::Mac, detail.to_owned())
        })
    }
}

/// Handshake frames on a socket, one at a time.
struct Wire<'a> {
    stream: &'a mut TcpStream,
    decoder: LinkDecoder,
    buffer: BytesMut,
}

impl<'a> Wire<'a> {
    fn new(stream: &'a mut TcpStream) -> Self {
        let decoder = LinkDecoder::new(Limits { payload: HELLO_MAX });
        Self { stream, decoder, buffer: BytesMut::with_capacity(512) }
    }

    /// The first half of a dial: both hellos.
    async fn greet(
        &mut self,
        own: &Identity,
        credentials: &Credentials,
        expected: &ServiceId,
    ) -> Result<(Hello, Hello), HandshakeError> {
        let hello = own.hello(credentials);
        self.send(Kind::Hello(hello.clone())).await?;
        let checked = match self.receive().await? {
            Kind::HelloAck(ack) => check_ack(&hello, ack, credentials, expected),
            other => Err(unexpected(&other)),
        };
        match checked {
            Ok(their) => Ok((hello, their)),
            Err(error) => Err(self.refuse(error).await),
        }
    }

    async fn send(&mut self, kind: Kind) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        LinkFrame::new(kind).encode(&mut bytes);
        self.stream.write_all(&bytes).await
    }

    async fn receive(&mut self) -> Result<Kind, HandshakeError> {
        loop {
            let frame = self.decoder.decode(&mut self.buffer);
            match frame.map_err(|error| refused(RefusedReason::Malformed, error.to_string()))? {
                Some(frame) => return Ok(frame.kind),
                None if self.stream.read_buf(&mut self.buffer).await? == 0 => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                None => {}
            }
        }
    }

    /// Sends the reason, so that the other side's log names it too; returns the error.
    async fn refuse(&mut self, error: HandshakeError) -> HandshakeError {
        if let HandshakeError::Refused { reason, detail } = &error {
            let (reason, detail) = ((*reason).into(), detail.clone());
            let refused = Refused { reason, detail, ..Refused::default() };
            // The peer may be gone already; our own log has the reason.
            let _ = self.send(Kind::Refused(refused)).await;
            let _ = self.stream.shutdown().await;
        }
        error
    }
}

#[cfg(test)]
mod tests;
