//! HTTP clients: the `reqwest` crate, with the cryptography of `ring`.

use std::sync::Once;

use reqwest::{Client, ClientBuilder};

/// Begins a client that uses no proxy and trusts the certificate authorities of the system.
///
/// `reqwest` brings no cryptography along here: a client that is built in any other way panics.
pub fn client() -> ClientBuilder {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // A provider that the program has installed itself stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy()
}

#[cfg(test)]
mod tests;
