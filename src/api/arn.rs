//! Amazon Resource Names of what the store holds (spec 5.1).

/// Builds ARNs for one region and account.
#[derive(Debug, Clone)]
pub(crate) struct Arns {
    region: String,
    account_id: String,
}

impl Arns {
    /// ARNs of `region` and `account_id`.
    pub(crate) fn new(region: String, account_id: String) -> Self {
        Self { region, account_id }
    }

    /// The ARN of a database.
    pub(crate) fn database(&self, database: &str) -> String {
        format!("arn:aws:timestream:{}:{}:database/{database}", self.region, self.account_id)
    }

    /// The ARN of a table.
    pub(crate) fn table(&self, database: &str, table: &str) -> String {
        format!("{}/table/{table}", self.database(database))
    }

    /// The ARN of a topic rule.
    pub(crate) fn topic_rule(&self, rule: &str) -> String {
        format!("arn:aws:iot:{}:{}:rule/{rule}", self.region, self.account_id)
    }

    /// What stands for the service's own key where a database names none. The store encrypts
    /// nothing; clients expect the member and its prefix (spec 2.4).
    pub(crate) fn default_kms_key(&self) -> String {
        let key = "00000000-0000-0000-0000-000000000000";
        format!("arn:aws:kms:{}:{}:key/{key}", self.region, self.account_id)
    }
}
