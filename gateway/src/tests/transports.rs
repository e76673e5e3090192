//! A transport of a user's own: a Unix socket whose handshake names the client.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::support::{Client, LOGIN, Received, World, eventually, login_body};
use crate::{
    Address, AuthError, Authenticator, Credentials, Framing, Identity, TlsPeer, Transport,
};

/// Bytes of a handshake, which name the client.
const NAME: usize = 3;

struct Unix {
    listener: UnixListener,
    path: PathBuf,
}

impl Unix {
    fn bind(path: &Path) -> Self {
        Self { listener: UnixListener::bind(path).unwrap(), path: path.to_owned() }
    }
}

impl Transport for Unix {
    type Accepted = UnixStream;
    type Stream = UnixStream;

    fn name(&self) -> &str {
        "unix"
    }

    fn local_address(&self) -> Address {
        Address::named(&self.path.display().to_string())
    }

    fn framing(&self) -> Framing {
        Framing::LengthPrefixed
    }

    async fn accept(&mut self) -> io::Result<(UnixStream, Address)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, Address::named("unix")))
    }

    async fn handshake(mut accepted: UnixStream) -> io::Result<(UnixStream, Option<TlsPeer>)> {
        let mut name = [0; NAME];
        accepted.read_exact(&mut name).await?;
        let name = String::from_utf8(name.to_vec()).map_err(io::Error::other)?;
        Ok((accepted, Some(TlsPeer { server_name: Some(name), ..TlsPeer::default() })))
    }
}

/// Lets clients in by what their handshake has shown.
struct ByHandshake;

#[async_trait]
impl Authenticator for ByHandshake {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, AuthError> {
        let name = credentials.tls.and_then(|tls| tls.server_name.as_deref());
        let name = name.ok_or_else(|| AuthError::Unauthorized("no handshake".to_owned()))?;
        Ok(Identity {
            account: name.into(),
            app: credentials.remote.to_string().into(),
            device: String::new(),
            expires: None,
        })
    }
}

async fn connect(path: &Path, hello: &str) -> Client {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(hello.as_bytes()).await.unwrap();
    Client::over(stream, Framing::LengthPrefixed)
}

async fn start(path: &Path, changes: &[(&str, &str)]) -> World {
    let unix = Unix::bind(path);
    World::start_with(changes, |builder| builder.listen(unix).authenticator(Arc::new(ByHandshake)))
        .await
}

#[tokio::test]
async fn clients_of_another_transport_are_served_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients");
    let mut world = start(&path, &[]).await;
    let mut client = connect(&path, "ann").await;
    client.request(LOGIN, login_body("")).await;
    assert_eq!(client.recv_logic().await.header.status, 0);
    client.echo("over a Unix socket").await;
    let (_, session) = world.logic.session_of("ann").unwrap();
    assert_eq!((session.app.as_str(), session.remote.as_str()), ("unix", "unix"));

    let mut stranger = Client::tcp(world.tcp).await;
    stranger.request(LOGIN, login_body("")).await;
    assert_eq!(stranger.recv_logic().await.header.status, 105);

    world.leave.cancel();
    client.expect_close(1001).await;
    (&mut world.gateway).await.unwrap().unwrap();
    assert!(UnixStream::connect(&path).await.is_err(), "its listener is closed");
}

#[tokio::test]
async fn limits_by_address_count_clients_without_one_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients");
    let world = start(&path, &[("limits.unauthenticated", "2")]).await;
    let unauthenticated = &world.entrance.unauthenticated;
    let mut oldest = connect(&path, "ann").await;
    eventually("it has a slot", || unauthenticated.len() == 1).await;
    let _second = connect(&path, "bob").await;
    eventually("both have slots", || unauthenticated.len() == 2).await;
    // Of an address of its own.
    let mut other = Client::tcp(world.tcp).await;
    other.request(LOGIN, login_body("")).await;
    assert_eq!(oldest.recv().await, Received::Close(None));
    assert_eq!(other.recv_logic().await.header.status, 105);
}

#[tokio::test]
async fn a_handshake_has_the_time_to_log_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients");
    let world = start(&path, &[("auth.login_timeout", "200ms")]).await;
    let mut half = connect(&path, "a").await;
    let ended = tokio::time::timeout(Duration::from_secs(5), half.recv_patiently()).await;
    assert_eq!(ended.unwrap(), Received::End);
    eventually("its slot is free", || world.entrance.unauthenticated.is_empty()).await;
}
