//! What `imago dev` leaves for the other commands while it runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, anyhow, bail};
use imago_kit::{InputError, read_text};
use serde::{Deserialize, Serialize};

/// One server of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Id in the registry.
    pub id: String,
    /// `gateway` or `logic`.
    pub role: String,
    /// Process id.
    pub pid: u32,
    /// URL of its monitor port.
    pub monitor: String,
    /// URL for WebSocket clients.
    pub ws: Option<String>,
    /// URL for TCP clients.
    pub tcp: Option<String>,
    /// Address for links.
    pub link: Option<String>,
}

/// The running cluster, with its throw-away secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct DevState {
    /// URL of the registry.
    pub naming: String,
    /// URL of the message store.
    pub store: String,
    /// URL of where sessions are kept beside the servers' memory.
    pub directory: Option<String>,
    /// Secret of the links.
    pub cluster_secret: String,
    /// Secret of the tokens.
    pub jwt_secret: String,
    /// The servers.
    pub members: Vec<Member>,
}

/// Where a cluster keeps its files unless told otherwise.
pub const DATA_DIR: &str = ".imago/dev";
const STATE_FILE: &str = "dev.json";
const LOCK_FILE: &str = "dev.lock";
/// Longest state file, in bytes: that of some thousand servers.
const FILE_MAX: u64 = 1 << 20;

impl DevState {
    /// Returns the cluster that runs on this data directory.
    ///
    /// # Errors
    /// When none does, or its state file is damaged.
    pub fn read(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(STATE_FILE);
        let text = match read_text(&path, FILE_MAX) {
            Ok(text) => text,
            Err(InputError::Unreadable(_)) => bail!(
                "no cluster runs on {}: start one with `imago dev` (in this directory), or name its gateways and secret",
                data.display()
            ),
            Err(error) => bail!("{} is damaged: {error}", path.display()),
        };
        serde_json::from_str(&text).map_err(|error| {
            // The parser's words may repeat a secret.
            let (line, column) = (error.line(), error.column());
            anyhow!("{} is damaged at line {line}, column {column}", path.display())
        })
    }

    /// Lets the other commands find the cluster. Readable by its user alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let path = data.join(STATE_FILE);
        let fresh = data.join(format!("{STATE_FILE}.new"));
        // A file left by a crash may have other rights.
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what [`write`](Self::write) left.
    pub fn remove(data: &Path) {
        // Gone already is as good.
        let _ = fs::remove_file(data.join(STATE_FILE));
    }

    /// Returns the WebSocket URLs of the gateways.
    pub fn gateways(&self) -> Vec<String> {
        self.members.iter().filter_map(|member| member.ws.clone()).collect()
    }
}

/// Makes the data directory, and takes it for this process alone.
///
/// # Errors
/// When it cannot be made, or another `imago dev` has it.
pub fn lock(data: &Path) -> anyhow::Result<File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let file = File::create(data.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another `imago dev` runs on {}: end it first, or use another --data directory",
            data.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
    }
}
