//! Flags that say which cluster is measured.

use std::path::{Path, PathBuf};

use anyhow::bail;
use imago_local::{DevState, SecretArgs, ws_url};

use crate::{
    client::{target::Target, tokens::Tokens},
    measure::cpu::Watched,
    report::files::FileArgs,
};

/// Which cluster is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// Gateway to connect to, ws://…; may be given several times
    #[arg(long, value_name = "URL")]
    gateway: Vec<String>,
    #[command(flatten)]
    secret: SecretArgs,
    /// File with a token a line, one for each client, in place of tokens made from the secret
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Process that is watched in place of those of `imago dev`; may be given several times
    #[arg(long, value_name = "[NAME=]PID")]
    pub(crate) pid: Vec<Watched>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
}

impl TargetArgs {
    /// The cluster of another `imago dev`.
    pub(crate) fn of(&self, data: &Path) -> Self {
        let files = self.files.clone();
        Self {
            gateway: Vec::new(),
            secret: SecretArgs::of(data),
            tokens: None,
            pid: Vec::new(),
            files,
        }
    }

    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        let dev = self.secret.dev();
        let members = dev.as_ref().map(|state| state.members.clone()).unwrap_or_default();
        let gateways = if self.gateway.is_empty() {
            dev.as_ref().map(DevState::gateways).map_err(|error| anyhow::anyhow!("{error:#}"))?
        } else {
            self.gateway.iter().map(|url| ws_url(url)).collect::<Result<_, _>>()?
        };
        if gateways.is_empty() {
            bail!("no gateway with a WebSocket port");
        }
        let tokens = match &self.tokens {
            Some(file) => Tokens::read(file)?,
            None => Tokens::made(self.secret.read()?),
        };
        Ok(Target { gateways, tokens, members })
    }

    /// The processes that are watched.
    pub(crate) fn watched(&self, target: &Target) -> Vec<Watched> {
        let dev = target.members.iter();
        let dev = dev.map(|member| Watched { name: member.id.clone(), pid: member.pid });
        // Processes that are named take the place of those of `imago dev`.
        if self.pid.is_empty() { dev.collect() } else { self.pid.clone() }
    }
}
