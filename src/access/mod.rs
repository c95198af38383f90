//! Who a caller is and what it may do: the same for HTTP and for MQTT.
//!
//! Promise: what cannot be proved is refused, and what no policy allows is denied.
//!
//! - A caller proves who it is with an access key and AWS Signature Version 4 (`sigv4`), with a
//!   client certificate (`certificate`), or with a user name and a password (in `mqtt`).
//! - What it may do is always a [`Policy`], in the JSON of AWS IAM and AWS IoT; the three roles are
//!   policies that are always there. A statement that denies wins, and what is not allowed is denied.
//! - A policy is bound to its caller once ([`Policy::bind`]): variables become text, conditions true or
//!   false. What is asked for each request or message is only action and resource.
//! - This daemon is one account in one region, so of a resource's ARN a policy's region and account are
//!   not compared.
//!
//! Secrets are compared in constant time and never printed.

mod certificate;
mod condition;
mod credentials;
mod pattern;
mod policy;
mod role;
mod sigv4;

pub use certificate::Certificate;
pub use condition::{Facts, NoFacts};
pub use credentials::{Credential, Credentials, Secret};
pub use policy::{BoundPolicy, Decision, Policy, PolicyError};
pub use role::Role;
pub use sigv4::{Claim, Head, Refused, percent_decoded};

/// Bytes as lower-case hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
