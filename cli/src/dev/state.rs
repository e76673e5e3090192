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
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) pid: u32,
    pub(crate) monitor: String,
    pub(crate) ws: Option<String>,
    pub(crate) tcp: Option<String>,
    pub(crate) link: Option<String>,
}

/// The running cluster, with its throw-away secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DevState {
    pub(crate) naming: String,
    pub(crate) store: String,
    pub(crate) directory: Option<String>,
    pub(crate) cluster_secret: String,
    pub(crate) jwt_secret: String,
    pub(crate) members: Vec<Member>,
}

const STATE_FILE: &str = "dev.json";
const LOCK_FILE: &str = "dev.lock";
/// Longest state file, in bytes: that of some thousand servers.
const FILE_MAX: u64 = 1 << 20;

impl DevState {
    /// The cluster that runs on this data directory.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Self> {
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
    pub(crate) fn write(&self, data: &Path) -> anyhow::Result<()> {
        let path = data.join(STATE_FILE);
        let fresh = data.join(format!("{STATE_FILE}.new"));
        // A file left by a crash may have other rights.
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn remove(data: &Path) {
        // Gone already is as good.
        let _ = fs::remove_file(data.join(STATE_FILE));
    }

    /// WebSocket URLs of the gateways.
    pub(crate) fn gateways(&self) -> Vec<String> {
        self.members.iter().filter_map(|member| member.ws.clone()).collect()
    }
}

/// Makes the data directory, and takes it for this process alone.
pub(crate) fn lock(data: &Path) -> anyhow::Result<File> {
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
