//! A connection to a bucket of S3, or of a service that speaks its protocol.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::SpawnedReqwestConnector;
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use tokio::runtime::Handle;

use super::Encryption;

/// How long one request may take: a part of 30 MB over a line of 4 Mbit/s.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);

/// Repetitions of a request that failed, while somebody waits for it. What may wait longer tries again by
/// itself.
const RETRIES: usize = 3;

/// A bucket and the little that is known of it here.
#[derive(Debug)]
pub(crate) struct S3Place<'a> {
    /// The bucket's name.
    pub(crate) bucket: &'a str,
    /// The service's address; `None` for the environment's, or AWS's.
    pub(crate) endpoint: Option<&'a str>,
    /// How objects are encrypted.
    pub(crate) encryption: &'a Encryption,
}

impl S3Place<'_> {
    /// Connects, with everything else about the bucket from the environment, as AWS's own tools read it.
    /// Connections live on `runtime`: that of a query may be busy, or gone.
    pub(crate) fn connect(&self, runtime: &Handle) -> Result<AmazonS3, String> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(self.bucket);
        if let Some(endpoint) = self.endpoint {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        let (encryption, key) = match self.encryption {
            Encryption::Storage => (None, None),
            Encryption::S3 => (Some("AES256"), None),
            Encryption::Kms(key) => (Some("aws:kms"), key.as_deref()),
        };
        for (name, value) in [("aws_server_side_encryption", encryption), ("aws_sse_kms_key_id", key)] {
            if let Some(value) = value {
                let name = name.parse::<AmazonS3ConfigKey>().map_err(|error| line(&error))?;
                builder = builder.with_config(name, value);
            }
        }
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            ..BackoffConfig::default()
        };
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        checked(builder)?
            .with_config(timeout, format!("{} seconds", REQUEST_WITHIN.as_secs()))
            .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: REQUEST_WITHIN })
            .with_http_connector(SpawnedReqwestConnector::new(runtime.clone()))
            .build()
            .map_err(|error| line(&error))
    }
}

/// Refuses to carry rows unencrypted to another machine, unless the environment allows it.
fn checked(builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let allow_http = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
    match endpoint {
        Some(endpoint) if is_loopback(&endpoint) => Ok(builder.with_allow_http(true)),
        Some(endpoint)
            if endpoint.starts_with("http://")
                && builder.get_config_value(&allow_http).as_deref() != Some("true") =>
        {
            Err(format!(
                "the endpoint {endpoint} would carry the rows over the network unencrypted; use https, or \
                 set AWS_ALLOW_HTTP=true"
            ))
        }
        _ => Ok(builder),
    }
}

/// Whether an endpoint is on this machine, where nobody listens in.
fn is_loopback(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or(rest);
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The error with its first cause, which texts of HTTP clients leave out.
pub(crate) fn line(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let (text, cause) = (one_line(&error.to_string()), one_line(&cause.to_string()));
    if text.contains(&cause) { text } else { format!("{text}: {cause}") }
}

/// An answer of a server, which may be a page of XML, as part of a sentence.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        for endpoint in
            ["http://127.0.0.1:5000", "http://localhost:9000/x", "http://[::1]:9000", "http://127.9.9.9"]
        {
            assert!(is_loopback(endpoint), "{endpoint}");
        }
        for endpoint in [
            "http://10.0.0.1:9000",
            "https://127.0.0.1",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com:1",
        ] {
            assert!(!is_loopback(endpoint), "{endpoint}");
        }
    }
}
