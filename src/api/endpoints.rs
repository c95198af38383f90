//! DescribeEndpoints: the address each SDK can use, from the Host header it sent (spec 3.2).
//!
//! SDKs that find this daemon through an environment variable ask for endpoints first and then use
//! the answer, each in its own way: boto3 wants a whole URL, JavaScript a bare host name.

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::error::ApiError;

/// How long an SDK may keep the address, in minutes; AWS's own value.
const CACHE_PERIOD_MINUTES: u32 = 1440;

/// Answers DescribeEndpoints. `advertise` stands for the host the caller asked, where the operator knows
/// better.
pub(crate) fn describe_endpoints(advertise: Option<&str>, headers: &HeaderMap) -> Result<Value, ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(header::HOST).filter(|host| !host.is_empty());
    let host = advertise.or(asked).ok_or_else(|| ApiError::validation("The Host header is missing."))?;
    let agent = text(header::USER_AGENT).unwrap_or("");
    let (scheme, host) = match host.split_once("://") {
        Some((scheme, host)) => (scheme, host),
        None => {
            let forwarded = text(header::HeaderName::from_static("x-forwarded-proto"));
            (forwarded.filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or("http"), host)
        }
    };
    let address = if agent.contains("aws-sdk-js/3") {
        without_port(host).to_owned()
    } else if agent.contains("aws-sdk-rust") || agent.contains("aws-sdk-java/2") {
        host.to_owned()
    } else {
        format!("{scheme}://{host}")
    };
    Ok(json!({ "Endpoints": [{ "Address": address, "CachePeriodInMinutes": CACHE_PERIOD_MINUTES }] }))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 literal stand inside brackets and are not the port's.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sdk_gets_the_form_it_can_use() {
        let cases = [
            ("Boto3/1.43 Botocore/1.43", "127.0.0.1:8686", "http://127.0.0.1:8686"),
            ("aws-sdk-go-v2/1.30", "tidemill:80", "http://tidemill:80"),
            ("aws-sdk-js/3.1138 ua/2.1", "localhost:8686", "localhost"),
            ("aws-sdk-js/3.1138", "[::1]:8686", "[::1]"),
            ("aws-sdk-js/3.1138", "[::1]", "[::1]"),
            ("aws-sdk-rust/1.3", "localhost:8686", "localhost:8686"),
            ("aws-sdk-java/2.25", "localhost:8686", "localhost:8686"),
        ];
        for (agent, host, address) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("header"));
            headers.insert(header::USER_AGENT, agent.parse().expect("header"));
            let answer = describe_endpoints(None, &headers).expect("an answer");
            assert_eq!(answer["Endpoints"][0]["Address"], address, "{agent}");
        }
        assert!(describe_endpoints(None, &HeaderMap::new()).is_err());
    }

    #[test]
    fn the_operator_may_know_better() {
        let cases = [
            ("Boto3/1.43", "https://mill.example:8443", "https://mill.example:8443"),
            ("Boto3/1.43", "mill.example", "http://mill.example"),
            ("aws-sdk-js/3.1138", "https://mill.example:8443", "mill.example"),
            ("aws-sdk-rust/1.3", "https://mill.example:8443", "mill.example:8443"),
        ];
        for (agent, advertise, address) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "10.0.0.1:8686".parse().expect("header"));
            headers.insert(header::USER_AGENT, agent.parse().expect("header"));
            let answer = describe_endpoints(Some(advertise), &headers).expect("an answer");
            assert_eq!(answer["Endpoints"][0]["Address"], address, "{agent}");
        }
    }
}
