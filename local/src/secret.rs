//! The secret of tokens, from a flag, the environment, or the cluster of `imago dev`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use imago_kit::{RedactedPath, Secret, read_secret, variable};

use crate::state::{DATA_DIR, DevState};

/// Variable that holds the secret of tokens, as gateways take it.
const VARIABLE: &str = "IMAGO_AUTH__JWT_SECRET";

/// Where the secret of tokens comes from.
#[derive(Clone, Debug, clap::Args)]
pub struct SecretArgs {
    /// File that holds the secret of the gateways' tokens
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Data directory of the `imago dev` whose secret is used otherwise
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data: PathBuf,
}

impl SecretArgs {
    /// That of the `imago dev` with this data directory.
    pub fn of(data: &Path) -> Self {
        Self { secret_file: None, data: data.to_owned() }
    }

    /// Returns the secret, from wherever it is.
    ///
    /// # Errors
    /// When its file cannot be read, or no cluster runs on the data directory.
    pub fn read(&self) -> anyhow::Result<Secret> {
        if let Some(path) = &self.secret_file {
            let secret = read_secret(path);
            return secret.with_context(|| format!("--secret-file {}", RedactedPath(path)));
        }
        match variable(VARIABLE).context(VARIABLE)? {
            Some(secret) => Ok(secret.into()),
            None => Ok(DevState::read(&self.data)?.jwt_secret.into()),
        }
    }

    /// Returns the cluster that `imago dev` runs.
    ///
    /// # Errors
    /// As [`DevState::read`].
    pub fn dev(&self) -> anyhow::Result<DevState> {
        DevState::read(&self.data)
    }
}
