//! Which backend opens which URL: built-in ones, and those of other crates.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use async_trait::async_trait;

use crate::{Error, Naming, RegistryUrl, Result, memory, registry_url::any_of};

/// Opens the registries of a URL scheme.
///
/// Two functions make one, see [`backend`]. A closure `Fn(RegistryUrl) -> impl Future<Output =
/// Result<impl Naming>>` is one, too: what its URLs carry is then checked only when they are opened.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Checks all of the URL, without opening anything: `--check` does so.
    ///
    /// # Errors
    /// [`Error::Url`] when the backend does not take the URL. The text names the part and what is
    /// expected, and holds no secret.
    fn check(&self, url: &RegistryUrl) -> Result<()>;

    /// Opens the registry. Called within a tokio runtime, once for each server of the process.
    ///
    /// A registry that cannot be reached is no error here: servers start before their registry, and wait.
    ///
    /// # Errors
    /// As [`check`](Self::check), and when something of this machine cannot be used, as a port.
    async fn open(&self, url: &RegistryUrl) -> Result<Arc<dyn Naming>>;
}

#[async_trait]
impl<F, Opening, N> Backend for F
where
    F: Fn(RegistryUrl) -> Opening + Send + Sync + 'static,
    Opening: Future<Output = Result<N>> + Send,
    N: Naming,
{
    fn check(&self, _: &RegistryUrl) -> Result<()> {
        Ok(())
    }

    async fn open(&self, url: &RegistryUrl) -> Result<Arc<dyn Naming>> {
        Ok(Arc::new(self(url.clone()).await?))
    }
}

/// Makes a backend of two functions: `read` takes the options out of a URL, and `open` opens a registry
/// with them.
pub fn backend<Options, Read, Open, Opening, N>(read: Read, open: Open) -> impl Backend
where
    Options: Send + 'static,
    Read: Fn(&RegistryUrl) -> Result<Options> + Send + Sync + 'static,
    Open: Fn(Options) -> Opening + Send + Sync + 'static,
    Opening: Future<Output = Result<N>> + Send + 'static,
    N: Naming,
{
    Pair { read, open, options: PhantomData::<fn() -> Options> }
}

struct Pair<Read, Open, Options> {
    read: Read,
    open: Open,
    options: PhantomData<fn() -> Options>,
}

#[async_trait]
impl<Options, Read, Open, Opening, N> Backend for Pair<Read, Open, Options>
where
    Options: Send + 'static,
    Read: Fn(&RegistryUrl) -> Result<Options> + Send + Sync + 'static,
    Open: Fn(Options) -> Opening + Send + Sync + 'static,
    Opening: Future<Output = Result<N>> + Send + 'static,
    N: Naming,
{
    fn check(&self, url: &RegistryUrl) -> Result<()> {
        (self.read)(url).map(drop)
    }

    async fn open(&self, url: &RegistryUrl) -> Result<Arc<dyn Naming>> {
        let options = (self.read)(url)?;
        Ok(Arc::new((self.open)(options).await?))
    }
}

/// The schemes that `naming.url` may have, each with its backend.
///
/// By default, those that are built in:
///
/// | URL | registry | feature |
/// | --- | --- | --- |
/// | `memory://name` | within this process, see [`Memory`](crate::Memory) | |
/// | `gossip://0.0.0.0:7946?seed=host:port` | none needed: members tell each other | `gossip` |
/// | `consul://host:8500/path?token=…&dc=…` | Consul, over HTTP or `consul+https` | `consul` |
///
/// Further ones are added by [`with`](Self::with). The crate's page shows a whole backend.
#[derive(Clone)]
pub struct Registries {
    /// In the order in which errors name them.
    backends: Vec<(String, Arc<dyn Backend>)>,
}

/// Schemes of this crate that are left out of the build.
const LEFT_OUT: &[(&str, bool)] = &[
    ("gossip", cfg!(not(feature = "gossip"))),
    ("consul", cfg!(not(feature = "consul"))),
    ("consul+https", cfg!(not(feature = "consul"))),
];

impl Default for Registries {
    fn default() -> Self {
        let built_in = Self::none().with("memory", backend(memory::read_name, memory::open));
        #[cfg(feature = "gossip")]
        let built_in =
            built_in.with("gossip", backend(crate::GossipOptions::read, crate::Gossip::join));
        #[cfg(feature = "consul")]
        let built_in = {
            let consul = || {
                let connect = async |options| crate::Consul::connect(options);
                backend(crate::ConsulOptions::read, connect)
            };
            built_in.with("consul", consul()).with("consul+https", consul())
        };
        built_in
    }
}

impl Registries {
    /// No schemes, not even those that are built in.
    pub fn none() -> Self {
        Self { backends: Vec::new() }
    }

    /// Adds a scheme, or replaces its backend.
    ///
    /// # Panics
    /// When `scheme` is none: a lower-case letter, then lower-case letters, digits, `+`, `-` and `.`.
    #[must_use]
    pub fn with(mut self, scheme: &str, backend: impl Backend) -> Self {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase());
        assert!(is_scheme && scheme.chars().all(is_part), "{scheme:?} is no scheme of a URL");
        let backend: Arc<dyn Backend> = Arc::new(backend);
        match self.backends.iter_mut().find(|(known, _)| known == scheme) {
            Some((_, known)) => *known = backend,
            None => self.backends.push((scheme.to_owned(), backend)),
        }
        self
    }

    /// Returns the schemes, in the order in which they were added.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.backends.iter().map(|(scheme, _)| &**scheme)
    }

    /// Checks the URL of a registry as [`open`](Self::open) reads it, without opening anything.
    ///
    /// # Errors
    /// [`Error::Url`] when the scheme is unknown, or its backend does not take the URL. The text names the
    /// part and what is expected, and holds no secret.
    pub fn check(&self, url: &str) -> Result<()> {
        let url = RegistryUrl::parse(url)?;
        self.of(&url)?.check(&url)
    }

    /// Opens the registry that a URL names.
    ///
    /// # Errors
    /// As [`check`](Self::check), and as [`Backend::open`].
    pub async fn open(&self, url: &str) -> Result<Arc<dyn Naming>> {
        let url = RegistryUrl::parse(url)?;
        self.of(&url)?.open(&url).await
    }

    fn of(&self, url: &RegistryUrl) -> Result<&dyn Backend> {
        let scheme = url.scheme();
        let found = self.backends.iter().find(|(known, _)| known == scheme);
        found.map(|(_, backend)| &**backend).ok_or_else(|| {
            let known: Vec<&str> = self.schemes().collect();
            let known = any_of(&known);
            let is_left_out = LEFT_OUT.iter().any(|(out, is_out)| *is_out && *out == scheme);
            let why =
                if is_left_out { "this program is built without scheme" } else { "unknown scheme" };
            Error::Url(format!("{why} {scheme}, expected {known}"))
        })
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.schemes()).finish()
    }
}

#[cfg(test)]
mod tests;
