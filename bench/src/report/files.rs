//! Files that figures are written to, beside the terminal.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

/// Where figures go beside the terminal.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// Write the figures to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with pictures of the figures over time
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl FileArgs {
    pub(crate) fn write_json(&self, figures: &Value) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        std::fs::write(path, serde_json::to_vec_pretty(figures)?)
            .with_context(|| format!("--json {}", path.display()))
    }

    pub(crate) fn write_html(&self, page: impl FnOnce() -> String) -> anyhow::Result<()> {
        let Some(path) = &self.html else { return Ok(()) };
        std::fs::write(path, page()).with_context(|| format!("--html {}", path.display()))
    }
}
