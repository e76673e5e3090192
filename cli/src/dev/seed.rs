//! The member that the servers of `imago dev` gossip through, where no other registry is named.

#[cfg(feature = "gossip")]
use imago_naming::{Gossip, GossipOptions};

/// A seed of this machine. Dropping it ends its membership.
#[cfg(feature = "gossip")]
pub(super) struct Seed(Gossip);

/// No seed: this program is built without gossip.
#[cfg(not(feature = "gossip"))]
pub(super) enum Seed {}

#[cfg(feature = "gossip")]
impl Seed {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let options = GossipOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            seeds: Vec::new(),
            cluster: "imago".to_owned(),
        };
        Ok(Self(Gossip::join(options).await?))
    }

    /// URL of the registry for servers.
    pub(super) fn url(&self) -> String {
        format!("gossip://127.0.0.1:0?seed={}", self.0.address())
    }
}

#[cfg(not(feature = "gossip"))]
impl Seed {
    pub(super) async fn start() -> anyhow::Result<Self> {
        anyhow::bail!(
            "--naming: expected the URL of a registry, this program is built without gossip"
        )
    }

    pub(super) fn url(&self) -> String {
        match *self {}
    }
}
