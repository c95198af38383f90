//! TCP, or TLS with certificates from files.

use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::options::{UpstreamOptions, UpstreamTls};

/// How to reach the other broker.
///
/// # Errors
/// In words, with the file, when a certificate cannot be used.
pub(super) fn of(options: &UpstreamOptions) -> Result<Transport, String> {
    match &options.tls {
        None => Ok(Transport::tcp()),
        Some(tls) => Ok(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(client(tls)?)))),
    }
}

fn client(tls: &UpstreamTls) -> Result<ClientConfig, String> {
    let trusting = ClientConfig::builder().with_root_certificates(roots(tls)?);
    let mut config = match &tls.identity {
        None => trusting.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("{}: no private key: {error}", key.display()))?;
            trusting.with_client_auth_cert(chain, secret).map_err(|error| {
                format!("{} and {} cannot be used: {error}", certificate.display(), key.display())
            })?
        }
    };
    config.alpn_protocols.extend(tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()));
    Ok(config)
}

/// The authorities that may vouch for the server.
fn roots(tls: &UpstreamTls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (found, whose) = match &tls.ca {
        Some(ca) => (certificates(ca)?, ca.display().to_string()),
        None => (rustls_native_certs::load_native_certs().certs, "the system".to_owned()),
    };
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(format!("{whose} has no certificate authorities"));
    }
    Ok(roots)
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |error| format!("{}: no certificates: {error}", path.display());
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<_, _>>().map_err(unusable)?;
    if found.is_empty() {
        return Err(format!("{}: no certificates", path.display()));
    }
    Ok(found)
}
