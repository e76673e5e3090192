//! A gateway that serves clients on a Unix socket too, for example those of a proxy on the same machine.
//!
//! ```sh
//! SOCKET=/run/imago/clients.sock cargo run -p imago-examples --bin unix_socket -- --config gateway.toml
//! ```

use std::{
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use imago_gateway::{
    Address, Framing, Gateway, TlsPeer, Transport,
    cli::{Cli, configure},
    unread,
};
use imago_kit::cli::{ServerArgs, run_server, shutdown_on_signal};
use tokio::net::{UnixListener, UnixStream};

/// Clients that speak WebSocket on a Unix socket. Its file is removed at the end.
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Listens on a path. A socket that an earlier run left there is replaced; no other file is.
    fn bind(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        Ok(Self { listener: UnixListener::bind(path)?, path: path.to_owned() })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Another process may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Transport for UnixSocket {
    type Accepted = UnixStream;
    type Stream = UnixStream;

    fn name(&self) -> &str {
        "unix"
    }

    fn local_address(&self) -> Address {
        Address::named(&self.path.display().to_string())
    }

    fn framing(&self) -> Framing {
        Framing::WebSocket
    }

    async fn accept(&mut self) -> io::Result<(UnixStream, Address)> {
        let (stream, _) = self.listener.accept().await?;
        // Clients have no address there, but the system tells their user.
        let user = stream.peer_cred().map_or_else(|_| String::new(), |peer| peer.uid().to_string());
        Ok((stream, Address::named(&format!("unix:{user}"))))
    }

    async fn handshake(accepted: UnixStream) -> io::Result<(UnixStream, Option<TlsPeer>)> {
        Ok((accepted, None))
    }

    fn unread(stream: &UnixStream) -> usize {
        unread(stream)
    }
}

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(config) = configure(args)? else { return Ok(()) };
    let path = std::env::var("SOCKET").unwrap_or_else(|_| "imago.sock".to_owned());
    let socket = UnixSocket::bind(path.as_ref());
    let socket = socket.with_context(|| format!("SOCKET: cannot listen on {path}"))?;
    Gateway::builder(config).listen(socket).serve(shutdown).await
}

fn main() -> ExitCode {
    let args = Cli::parse().server;
    run_server(&args, run(&args))
}
