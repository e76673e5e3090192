//! A cluster that is measured: its gateways, and who logs in there.

use imago_local::Member;

use super::tokens::Tokens;

/// A cluster that is measured.
pub(crate) struct Target {
    pub(crate) gateways: Vec<String>,
    pub(crate) tokens: Tokens,
    pub(crate) members: Vec<Member>,
}

impl Target {
    pub(crate) fn gateway(&self, number: usize) -> &str {
        self.gateways.get(number % self.gateways.len()).map_or("", String::as_str)
    }

    /// Checks that there are tokens for this number of clients.
    pub(crate) fn require(&self, clients: usize) -> anyhow::Result<()> {
        self.tokens.require(clients)
    }

    pub(crate) fn account(&self, number: usize) -> anyhow::Result<String> {
        self.tokens.account(number)
    }

    pub(crate) fn token(&self, account: &str) -> anyhow::Result<String> {
        self.tokens.token(account)
    }
}
