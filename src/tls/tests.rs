//! Certificates made for the test, clients of rustls.

use std::fs;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// An authority and what it signs, written to a folder.
pub(crate) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    pub(crate) folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for `name`; its DER and its key's.
    pub(crate) fn sign(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.issue(name);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (certificate.der().clone(), key)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Writes a server's pair and says where.
    pub(crate) fn write_pair(&self) -> TlsFiles {
        let (certificate, key) = self.issue("server");
        let files = TlsFiles { certificate: self.path("c.pem"), key: self.path("k.pem"), clients: None };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// A client that trusts this authority and shows `identity`.
    pub(crate) fn client(
        &self,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Shakes hands over a pipe; the certificate the client sees and what the server makes of it.
async fn shake(
    endpoint: &TlsEndpoint,
    client: TlsConnector,
) -> (Option<Vec<u8>>, Result<Option<Vec<u8>>, HandshakeError>) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let connecting = async {
        let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), near).await.ok()?;
        let (_, connection) = stream.get_ref();
        let seen = connection.peer_certificates()?.first()?.to_vec();
        // A server that refuses a client's certificate says so after the client is done.
        stream.write_all(b"x").await.ok()?;
        (stream.read_u8().await.ok()? == b'y').then_some(seen)
    };
    let accepting = async {
        let mut stream = endpoint.accept(far, SOON).await?;
        stream.read_u8().await?;
        stream.write_all(b"y").await?;
        stream.flush().await?;
        Ok(peer_certificate(&stream).map(<[u8]>::to_vec))
    };
    tokio::join!(connecting, accepting)
}

fn touch(path: &Path, text: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_changed_pair_is_served_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let files = authority.write_pair();
    let endpoint = TlsEndpoint::open(files.clone(), &[]).unwrap();
    let (first, accepted) = shake(&endpoint, authority.client(None)).await;
    assert_eq!(accepted.unwrap(), None, "no client is asked for a certificate");
    let first = first.expect("a certificate");

    touch(&files.certificate, b"-----BEGIN CERTIFICATE-----\nnot base64");
    endpoint.refresh();
    assert_eq!(shake(&endpoint, authority.client(None)).await.0.as_ref(), Some(&first));
    fs::remove_file(&files.certificate).unwrap();
    endpoint.refresh();
    assert_eq!(shake(&endpoint, authority.client(None)).await.0.as_ref(), Some(&first));

    authority.write_pair();
    endpoint.refresh();
    let (second, _) = shake(&endpoint, authority.client(None)).await;
    assert!(second.is_some() && second.as_ref() != Some(&first));

    let key = fs::read(&files.key).unwrap();
    authority.write_pair();
    touch(&files.key, &key);
    endpoint.refresh();
    assert_eq!(shake(&endpoint, authority.client(None)).await.0, second, "a key of another certificate");
}

#[tokio::test]
async fn the_files_are_watched() {
    let authority = Authority::new();
    let endpoint = TlsEndpoint::open(authority.write_pair(), &[]).unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(Arc::clone(&endpoint).watch(shutdown.clone()));
    let (first, _) = shake(&endpoint, authority.client(None)).await;
    authority.write_pair();
    let changed = async {
        while shake(&endpoint, authority.client(None)).await.0 == first {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, changed).await.expect("the new certificate was never served");
    assert_eq!(shutdown.stop(SOON).await, 0);
}

#[tokio::test]
async fn clients_show_certificates_of_their_authorities() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for required in [true, false] {
        let clients = Some(ClientAuthorities { path: authority.path("ca.pem"), required });
        let endpoint = TlsEndpoint::open(TlsFiles { clients, ..authority.write_pair() }, &[]).unwrap();
        let identity = authority.sign("pump");
        let shown = identity.0.to_vec();
        let (seen, accepted) = shake(&endpoint, authority.client(Some(identity))).await;
        assert!(seen.is_some());
        assert_eq!(accepted.unwrap(), Some(shown));
        let (_, accepted) = shake(&endpoint, authority.client(Some(stranger.sign("pump")))).await;
        assert!(accepted.is_err(), "another authority signed it");
        let (_, accepted) = shake(&endpoint, authority.client(None)).await;
        assert_eq!(accepted.is_err(), required);
    }
}

#[tokio::test]
async fn hostile_handshakes_end() {
    let authority = Authority::new();
    let endpoint = TlsEndpoint::open(authority.write_pair(), &[]).unwrap();
    let brief = Duration::from_millis(100);
    let (_silent, far) = tokio::io::duplex(1024);
    assert!(matches!(endpoint.accept(far, brief).await, Err(HandshakeError::Late)));
    let client_hello = [22, 3, 1, 0x40, 0, 1, 0, 0xFF, 0xFF, 3, 3];
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x10, 14, 0, 4], &[0xFF; 600], &[0; 600], &client_hello] {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        near.write_all(bytes).await.unwrap();
        assert!(endpoint.accept(far, brief).await.is_err(), "{bytes:02x?}");
    }
    assert!(shake(&endpoint, authority.client(None)).await.0.is_some());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let files = authority.write_pair();
    let refused = |files: TlsFiles| TlsEndpoint::open(files, &[]).map(drop).unwrap_err().to_string();
    let missing = refused(TlsFiles { key: authority.path("nowhere"), ..files.clone() });
    assert!(missing.contains("nowhere: No such file"), "{missing}");
    let swapped = refused(TlsFiles { key: files.certificate.clone(), ..files.clone() });
    assert!(swapped.contains("c.pem: there is no private key in it"), "{swapped}");
    let swapped = refused(TlsFiles { certificate: files.key.clone(), ..files.clone() });
    assert!(swapped.contains("k.pem: there is no certificate in it"), "{swapped}");
    let other = Authority::new();
    let mixed = refused(TlsFiles { key: other.write_pair().key, ..files.clone() });
    assert!(mixed.contains("c.pem and "), "{mixed}");
    fs::write(authority.path("large"), vec![b'x'; (1 << 20) + 1]).unwrap();
    let large = refused(TlsFiles { certificate: authority.path("large"), ..files.clone() });
    assert!(large.contains("larger than"), "{large}");
    let clients = Some(ClientAuthorities { path: files.key.clone(), required: true });
    assert!(refused(TlsFiles { clients, ..files }).contains("there is no certificate"));
}
