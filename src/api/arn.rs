//! Amazon Resource Names of what the store holds (spec 5.1).

use super::error::ApiError;
use crate::store::Resource;

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

    /// What the ARN of a scheduled query ends with. Region and account are the caller's business, as below.
    ///
    /// # Errors
    /// ValidationException when it is no ARN of a scheduled query.
    pub(crate) fn scheduled_query<'a>(&self, arn: &'a str) -> Result<&'a str, ApiError> {
        scheduled_query(arn).ok_or_else(|| {
            let Self { region, account_id } = self;
            ApiError::validation(format!(
                "The scheduled query ARN is invalid: it must look like \
                 arn:aws:timestream:{region}:{account_id}:scheduled-query/my-query-0123456789abcdef."
            ))
        })
    }

    /// The ARN of a topic rule.
    pub(crate) fn topic_rule(&self, rule: &str) -> String {
        format!("arn:aws:iot:{}:{}:rule/{rule}", self.region, self.account_id)
    }

    /// The ARN of who signs with an access key.
    pub(crate) fn user(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:user/{name}", self.account_id)
    }

    /// The ARN of anything of a service, by what stands behind the account.
    pub(crate) fn any(&self, service: &str, resource: &str) -> String {
        match resource {
            "*" => "*".to_owned(),
            resource => format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account_id),
        }
    }

    /// What an ARN names. Region and account are the caller's business: clients that are pointed here
    /// keep the ones they had.
    ///
    /// # Errors
    /// ValidationException when it is no ARN of a database or a table.
    pub(crate) fn resource(&self, arn: &str) -> Result<Resource, ApiError> {
        let path: Option<Vec<&str>> = match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
            ["arn", _, "timestream", _, _, path] => Some(path.split('/').collect()),
            _ => None,
        };
        match path.as_deref() {
            Some(["database", name]) if !name.is_empty() => Ok(Resource::Database((*name).to_owned())),
            Some(["database", database, "table", name]) if !database.is_empty() && !name.is_empty() => {
                Ok(Resource::Table((*database).to_owned(), (*name).to_owned()))
            }
            _ => Err(ApiError::validation(format!(
                "The resource ARN is invalid: it must look like {}.",
                self.table("my-database", "my-table")
            ))),
        }
    }

    /// What stands for the service's own key where a database names none. The store encrypts
    /// nothing; clients expect the member and its prefix (spec 2.4).
    pub(crate) fn default_kms_key(&self) -> String {
        let key = "00000000-0000-0000-0000-000000000000";
        format!("arn:aws:kms:{}:{}:key/{key}", self.region, self.account_id)
    }
}

/// What an ARN ends with if it is one of a scheduled query; its name may have slashes.
pub(crate) fn scheduled_query(arn: &str) -> Option<&str> {
    match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "timestream", _, _, path] => {
            path.strip_prefix("scheduled-query/").filter(|id| !id.is_empty())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_databases_and_tables() {
        let arns = Arns::new("eu-west-1".into(), "123456789012".into());
        let table = arns.resource(&arns.table("d", "t")).expect("a table");
        assert_eq!(table, Resource::Table("d".into(), "t".into()));
        let foreign = "arn:aws-us-gov:timestream:us-gov-west-1:1:database/d";
        assert_eq!(arns.resource(foreign).expect("a database"), Resource::Database("d".into()));
        for bad in
            ["", "arn:aws:s3:::b", "arn:aws:timestream:r:1:database/", "arn:aws:timestream:r:1:database/d/t"]
        {
            assert!(arns.resource(bad).is_err(), "{bad}");
        }
        let query = "arn:aws:timestream:r:1:scheduled-query/a/b-0123456789abcdef";
        assert_eq!(arns.scheduled_query(query).expect("a query"), "a/b-0123456789abcdef");
        assert!(arns.resource(query).is_err() && arns.scheduled_query(foreign).is_err());
        assert!(arns.scheduled_query("arn:aws:timestream:r:1:scheduled-query/").is_err());
    }
}
