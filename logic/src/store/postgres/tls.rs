//! Encrypted connections to the database.

use std::{path::Path, sync::Arc};

use imago_kit::{RedactedPath, read_file};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longest file of certificates, in bytes: ten times those of a system.
const FILE_MAX: u64 = 4 << 20;

/// Returns a connector that trusts the certificates of a file, or the system's.
pub(super) fn connector(file: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let certificates = match file {
        Some(path) => read(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(match file {
            Some(path) => format!("sslrootcert: no certificate in {}", RedactedPath(path)),
            None => "no certificate authorities on this system: set sslrootcert".to_owned(),
        });
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("sslrootcert: cannot read {}: {error}", RedactedPath(path))
    };
    let file = read_file(path, FILE_MAX).map_err(|error| wrong(&error))?;
    let text = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&file);
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| wrong(&error))
}
