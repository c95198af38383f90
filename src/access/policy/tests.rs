//! Policies as AWS's guides write them, and as they go wrong.

use std::borrow::Cow;

use serde_json::json;

use super::super::condition::NoFacts;
use super::*;

/// A device with a certificate.
struct Device;

impl Facts for Device {
    fn fact(&self, key: &str) -> Option<Cow<'_, str>> {
        match key {
            "iot:ClientId" => Some("pump-1".into()),
            "iot:Certificate.Subject.CommonName" => Some("pump".into()),
            "aws:SourceIp" => Some("10.1.2.3".into()),
            "iot:Connection.Thing.IsAttached" => Some("true".into()),
            _ => None,
        }
    }
}

fn policy(statements: Value) -> Policy {
    Policy::parse(&json!({ "Version": "2012-10-17", "Statement": statements }).to_string()).unwrap()
}

fn iot(policy: &Policy, action: &str, name: &str) -> Decision {
    policy.bind(&Device).decide(action, "iot", name)
}

#[test]
fn what_no_statement_allows_is_not_allowed_and_deny_wins() {
    let policy = policy(json!([
        { "Effect": "Allow", "Action": ["iot:Publish", "iot:Rec*"], "Resource": "arn:aws:iot:us-east-1:123456789012:topic/a/*" },
        { "Sid": "no", "Effect": "Deny", "Action": "iot:*", "Resource": ["arn:aws:iot:*:*:topic/a/secret*"] },
    ]));
    for (action, name, expected) in [
        ("iot:Publish", "topic/a/b", Decision::Allowed),
        ("iot:publish", "topic/a/b", Decision::Allowed),
        ("iot:Receive", "topic/a/b/c", Decision::Allowed),
        ("iot:Subscribe", "topic/a/b", Decision::NotAllowed),
        ("iot:Publish", "topic/b", Decision::NotAllowed),
        ("iot:Publish", "topic/A/b", Decision::NotAllowed),
        ("iot:Publish", "topicfilter/a/b", Decision::NotAllowed),
        ("iot:Publish", "topic/a/secret/x", Decision::Denied),
        ("iot:Subscribe", "topic/a/secret", Decision::Denied),
        ("timestream:Publish", "topic/a/b", Decision::NotAllowed),
    ] {
        assert_eq!(iot(&policy, action, name), expected, "{action} {name}");
    }
    assert_eq!(policy.bind(&Device).decide("iot:Publish", "timestream", "topic/a/b"), Decision::NotAllowed);
}

#[test]
fn variables_and_conditions_are_the_callers() {
    let document = policy(json!([
        { "Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:us-east-1:1:client/${iot:ClientId}",
          "Condition": { "Bool": { "iot:Connection.Thing.IsAttached": [true] }, "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } } },
        { "Effect": "Allow", "Action": "iot:Publish",
          "Resource": ["arn:aws:iot:us-east-1:1:topic/${iot:Certificate.Subject.CommonName}/#", "arn:aws:iot:r:1:topic/${iot:Nothing}/x"] },
    ]));
    assert_eq!(iot(&document, "iot:Connect", "client/pump-1"), Decision::Allowed);
    assert_eq!(iot(&document, "iot:Connect", "client/pump-2"), Decision::NotAllowed);
    assert_eq!(iot(&document, "iot:Publish", "topic/pump/#"), Decision::Allowed);
    assert_eq!(iot(&document, "iot:Publish", "topic/pump/1"), Decision::NotAllowed, "# is no wildcard here");
    assert_eq!(iot(&document, "iot:Publish", "topic//x"), Decision::NotAllowed);
    let unknown = document.bind(&NoFacts);
    assert_eq!(unknown.decide("iot:Connect", "iot", "client/pump-1"), Decision::NotAllowed);
}

#[test]
fn a_denial_whose_variable_is_unknown_denies_nothing_else() {
    let document = policy(json!([
        { "Effect": "Allow", "Action": "*", "Resource": "*" },
        { "Effect": "Deny", "Action": "*", "NotResource": "arn:aws:iot:*:*:topic/${iot:ClientId}" },
    ]));
    assert_eq!(iot(&document, "iot:Publish", "topic/pump-1"), Decision::Allowed);
    assert_eq!(iot(&document, "iot:Publish", "topic/other"), Decision::Denied);
    let unknown = document.bind(&NoFacts);
    assert_eq!(
        unknown.decide("iot:Publish", "iot", "topic/x"),
        Decision::Denied,
        "what is excepted is nothing"
    );
}

#[test]
fn inverted_selections_mean_all_others() {
    let document = policy(json!({ "Effect": "Allow", "NotAction": "iot:Publish", "Resource": "*" }));
    assert_eq!(iot(&document, "iot:Subscribe", "topicfilter/a"), Decision::Allowed);
    assert_eq!(iot(&document, "iot:Publish", "topic/a"), Decision::NotAllowed);
}

#[test]
fn short_arns_end_in_a_wildcard() {
    let document = policy(json!({ "Effect": "Allow", "Action": "iot:*", "Resource": "arn:aws:iot:*" }));
    assert_eq!(iot(&document, "iot:Publish", "topic/a"), Decision::Allowed);
    assert_eq!(document.bind(&NoFacts).decide("iot:Publish", "timestream", "topic/a"), Decision::NotAllowed);
    // The name may have colons; a wildcard in the place of the account does not reach into it.
    let document =
        policy(json!({ "Effect": "Allow", "Action": "iot:*", "Resource": "arn:aws:iot:*:*:topic/x" }));
    assert_eq!(iot(&document, "iot:Publish", "topic/y:z:topic/x"), Decision::NotAllowed);
}

#[test]
fn everywhere_is_known_without_a_resource() {
    let document = policy(json!([
        { "Effect": "Allow", "Action": "timestream:Describe*", "Resource": "*" },
        { "Effect": "Allow", "Action": "timestream:WriteRecords", "Resource": "arn:aws:timestream:*:*:database/a/*" },
        { "Effect": "Deny", "Action": "timestream:DescribeTable", "Resource": "*" },
    ]));
    let bound = document.bind(&NoFacts);
    assert_eq!(bound.decide_everywhere("timestream:DescribeDatabase"), Some(Decision::Allowed));
    assert_eq!(bound.decide_everywhere("timestream:DescribeTable"), Some(Decision::Denied));
    assert_eq!(bound.decide_everywhere("timestream:WriteRecords"), None);
    assert_eq!(bound.decide_everywhere("timestream:Select"), Some(Decision::NotAllowed));
}

#[test]
fn what_is_not_understood_is_refused() {
    let ok = json!({ "Effect": "Allow", "Action": "iot:Publish", "Resource": "*" });
    let with = |name: &str, value: Value| {
        let mut statement = ok.clone();
        statement[name] = value;
        json!({ "Statement": [ok, statement] }).to_string()
    };
    let cases = [
        ("{".to_owned(), "it is not a policy"),
        ("[]".to_owned(), "it is not a policy"),
        (json!({ "Version": "2008-10-17", "Statement": ok }).to_string(), "its Version is not"),
        (json!({ "Statement": ok, "Principal": "*" }).to_string(), "unknown field `Principal`"),
        (with("Principal", json!("*")), "statement 2: Principal is not supported"),
        (with("Effect", json!("allow")), "statement 2: Effect is neither"),
        (with("Action", json!([])), "statement 2: Action is empty"),
        (with("Action", json!("Publish")), "names no service"),
        (with("Action", json!([1])), "neither a text nor a list"),
        (with("NotAction", json!("iot:Publish")), "it needs either Action or NotAction"),
        (with("Resource", json!("topic/a")), "neither \"*\" nor an ARN"),
        (with("Resource", json!("arn:aws:iot:topic")), "neither \"*\" nor an ARN"),
        (with("Resource", json!("arn:aws:iot:r:1:topic/${x")), "a variable without an end"),
        (with("Condition", json!({ "DateEquals": { "a": "b" } })), "DateEquals is not supported"),
        (with("Condition", json!([])), "Condition is not an object"),
        (" ".repeat(DOCUMENT_BYTES_MAX + 1), "it is larger than"),
    ];
    for (document, expected) in cases {
        let error = Policy::parse(&document).expect_err(&document).to_string();
        assert!(error.contains(expected), "{error} lacks {expected}");
    }
}
