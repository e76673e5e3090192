//! A real PgBouncer before a PostgreSQL server.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{eventually, ports::HeldPorts, postgres};

/// Fewer connections to the database than its clients have, so that their transactions share them.
const SERVER_CONNECTIONS: usize = 3;

/// A PgBouncer of a database that gives each transaction any connection; killed when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    url: String,
    _held: HeldPorts<1>,
    _folder: TempDir,
    _child: Child,
}

impl PgBouncer {
    /// Starts one for the database of a URL from [`PostgresServer`](crate::PostgresServer), with more
    /// lines of settings.
    ///
    /// # Panics
    /// When PgBouncer is not installed, or does not start.
    pub async fn start(database: &str, settings: &str) -> Self {
        let (server, name) = database.rsplit_once('/').expect("a URL of a database");
        let port = server.rsplit(':').next().expect("its port");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let held = HeldPorts::new();
        let [own] = held.numbers;
        let users = folder.path().join("users");
        std::fs::write(&users, "\"imago\" \"\"\n").expect("the temporary folder can be written");
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host=127.0.0.1 port={port} dbname={name}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {own}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\npool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\n\
             max_client_conn = 200\n{settings}\n",
            users.display()
        );
        std::fs::write(&file, text).expect("the temporary folder can be written");
        let mut command = Command::new(program());
        command.arg("-q").arg(&file).stdin(Stdio::null()).kill_on_drop(true);
        if let Some((user, group)) = postgres::user() {
            for path in [folder.path(), &users, &file] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may");
            }
            command.uid(user).gid(group);
        }
        let child = command.spawn().expect("no pgbouncer: run scripts/install-pgbouncer");
        eventually(Duration::from_secs(30), "PgBouncer takes connections", || async {
            TcpStream::connect(("127.0.0.1", own)).await.ok().map(drop)
        })
        .await;
        let url = format!("postgres://imago@127.0.0.1:{own}/{name}");
        Self { url, _held: held, _folder: folder, _child: child }
    }

    /// URL of the database through it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Debian keeps it off the `PATH` of users.
fn program() -> PathBuf {
    let path = PathBuf::from("/usr/sbin/pgbouncer");
    if path.is_file() { path } else { "pgbouncer".into() }
}
