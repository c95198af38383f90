//! The three roles: policies that need not be written.

use serde_json::json;

use super::policy::Policy;

/// What a caller may do in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Read, write records and publish; databases, tables and rules stay as they are.
    Writer,
    /// Read and subscribe.
    Reader,
}

/// What `reader` may do.
const READING: &[&str] = &[
    "timestream:CancelQuery",
    "timestream:Describe*",
    "timestream:List*",
    "timestream:PrepareQuery",
    "timestream:Select*",
    "iot:Connect",
    "iot:Describe*",
    "iot:Get*",
    "iot:List*",
    "iot:Receive",
    "iot:Subscribe",
];

/// What `writer` may do besides.
const WRITING: &[&str] = &[
    "timestream:CreateBatchLoadTask",
    "timestream:ResumeBatchLoadTask",
    "timestream:Unload",
    "timestream:WriteRecords",
    "iot:Publish",
    "iot:RetainPublish",
];

impl Role {
    /// The role called `word`.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "admin" => Some(Self::Admin),
            "writer" => Some(Self::Writer),
            "reader" => Some(Self::Reader),
            _ => None,
        }
    }

    /// What the role may do.
    pub fn policy(self) -> Policy {
        let actions = match self {
            Self::Admin => vec!["*"],
            Self::Writer => [READING, WRITING].concat(),
            Self::Reader => READING.to_vec(),
        };
        let document = json!({ "Statement": { "Effect": "Allow", "Action": actions, "Resource": "*" } });
        Policy::parse(&document.to_string()).expect("the roles are policies")
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::NoFacts;
    use super::super::policy::Decision;
    use super::*;

    #[test]
    fn each_role_may_what_its_name_says() {
        for (action, admin, writer, reader) in [
            ("timestream:Select", true, true, true),
            ("timestream:DescribeEndpoints", true, true, true),
            ("timestream:WriteRecords", true, true, false),
            ("timestream:CreateTable", true, false, false),
            ("timestream:UpdateAccountSettings", true, false, false),
            ("iot:Subscribe", true, true, true),
            ("iot:Publish", true, true, false),
            ("iot:CreateTopicRule", true, false, false),
        ] {
            for (role, expected) in [(Role::Admin, admin), (Role::Writer, writer), (Role::Reader, reader)] {
                let decision = role.policy().bind(&NoFacts).decide_everywhere(action);
                assert_eq!(decision == Some(Decision::Allowed), expected, "{role:?} {action}");
            }
        }
    }
}
