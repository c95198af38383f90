//! `[notifications]`: which addresses stand for the topics of SNS.

use std::collections::BTreeMap;

use super::check::Wrong;

/// How many topics there may be.
const TOPICS_MAX: usize = 1_000;

/// Topic ARNs and the addresses of their subscribers.
pub(super) type Written = BTreeMap<String, String>;

pub(super) fn check(written: Written) -> Result<BTreeMap<String, String>, Wrong> {
    let wrong = |reason: String| Wrong { key: "notifications", reason };
    if written.len() > TOPICS_MAX {
        return Err(wrong(format!("there are more than {TOPICS_MAX} topics")));
    }
    for (topic, address) in &written {
        if !topic.starts_with("arn:") || topic.split(':').nth(2) != Some("sns") {
            let example = "arn:aws:sns:us-east-1:000000000000:topic";
            return Err(wrong(format!("`{topic}` is not the ARN of a topic such as {example}")));
        }
        let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
        if rest
            .is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(char::is_whitespace))
        {
            return Err(wrong(format!(
                "{topic}: `{address}` is not an address such as http://127.0.0.1:9000/path"
            )));
        }
    }
    Ok(written)
}
