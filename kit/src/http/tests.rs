//! Clients trust who the system trusts, and no one else.

use std::{
    env,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};

/// What the second process is to ask for.
const URL: &str = "IMAGO_TEST_ASK";

/// A server at `localhost` with a certificate by `test_ca.pem`; its port.
fn serve() -> u16 {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("test_server.pem")).unwrap();
    let key: &[u8] = include_bytes!("test_server_key.der");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            // A client that refuses the certificate hangs up.
            if stream.read(&mut [0; 1024]).is_ok_and(|bytes| bytes > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        }
    });
    port
}

/// Runs the test below in a process of its own whose system trusts these authorities.
fn ask(url: &str, authorities: &str) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http").join(authorities);
    let mut second = Command::new(env::current_exe().unwrap());
    second.args(["--exact", "http::tests::the_second_process_is_answered"]);
    second.env(URL, url).env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
    second.output().unwrap().status.success()
}

#[test]
fn a_server_is_trusted_by_the_authorities_of_the_system_and_its_name() {
    let port = serve();
    assert!(ask(&format!("https://localhost:{port}/"), "test_ca.pem"));
    assert!(!ask(&format!("https://localhost:{port}/"), "test_other_ca.pem"));
    // The certificate is for `localhost` alone.
    assert!(!ask(&format!("https://127.0.0.1:{port}/"), "test_ca.pem"));
}

#[tokio::test]
async fn the_second_process_is_answered() {
    let Ok(url) = env::var(URL) else { return };
    let client = super::client().timeout(Duration::from_secs(30)).build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
}
