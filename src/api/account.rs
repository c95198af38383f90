//! DescribeAccountSettings and UpdateAccountSettings (spec 2.3, 2.4).
//!
//! The settings are kept and given back, and keep nothing in check: how much queries may take is the
//! daemon's configuration to say.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Context;
use super::error::ApiError;
use super::shape::{INTEGER, Shape, optional, required};
use crate::store::Store;

/// Where the settings are kept.
const KIND: &str = "account-settings";
const ID: &str = "query";

/// What an account begins with.
const MAX_QUERY_TCU: i64 = 200;
/// Compute units come in fours.
const TCU_STEP: i64 = 4;
const TCU_MAX: i64 = 1000;

const SNS: Shape = Shape::Structure(&[required("TopicArn", Shape::Text(1, 2048))]);
const NOTIFICATION: Shape =
    Shape::Structure(&[optional("SnsConfiguration", SNS), required("RoleArn", Shape::Text(1, 2048))]);
const CAPACITY: Shape = Shape::Structure(&[
    required("TargetQueryTCU", INTEGER),
    optional("NotificationConfiguration", NOTIFICATION),
]);
const COMPUTE: Shape = Shape::Structure(&[
    optional("ComputeMode", Shape::Choice(&["ON_DEMAND", "PROVISIONED"])),
    optional("ProvisionedCapacity", CAPACITY),
]);
const UPDATE: Shape = Shape::Structure(&[
    optional("MaxQueryTCU", INTEGER),
    optional("QueryPricingModel", Shape::Choice(&["BYTES_SCANNED", "COMPUTE_UNITS"])),
    optional("QueryCompute", COMPUTE),
]);
const DESCRIBE: Shape = Shape::Structure(&[]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    #[serde(rename = "MaxQueryTCU")]
    max_query_tcu: Option<i64>,
    query_pricing_model: Option<String>,
    query_compute: Option<Compute>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Compute {
    compute_mode: Option<String>,
    provisioned_capacity: Option<Capacity>,
}

/// What the account is told about the computers its queries run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Capacity {
    #[serde(rename = "TargetQueryTCU")]
    target_query_tcu: i64,
    notification_configuration: Option<Value>,
}

/// The settings as they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    max_query_tcu: i64,
    /// Only with the mode PROVISIONED.
    provisioned: Option<Capacity>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_query_tcu: MAX_QUERY_TCU, provisioned: None }
    }
}

/// DescribeAccountSettings.
pub(crate) async fn describe(context: &Context, input: Value) -> Result<Value, ApiError> {
    DESCRIBE.check(&input)?;
    Ok(load(context).await?.described())
}

/// UpdateAccountSettings: what is absent stays as it is.
pub(crate) async fn update(context: &Context, input: Value) -> Result<Value, ApiError> {
    let update: Update = super::json::read(&UPDATE, input)?;
    // One change at a time: two that come together must not lose either.
    let _changing = context.account_changes.lock().await;
    let mut settings = load(context).await?;
    update.apply(&mut settings)?;
    let bytes = serde_json::to_vec(&settings).expect("text keys only");
    context.blocking(move |store: &Store| store.put_document(KIND, ID, &bytes)).await?;
    Ok(settings.described())
}

async fn load(context: &Context) -> Result<Settings, ApiError> {
    match context.blocking(|store: &Store| store.document(KIND, ID)).await? {
        None => Ok(Settings::default()),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::internal(format!("The kept account settings are damaged: {error}"))),
    }
}

impl Update {
    fn apply(self, settings: &mut Settings) -> Result<(), ApiError> {
        if self.query_pricing_model.is_some_and(|model| model != "COMPUTE_UNITS") {
            let message = "The pricing model can only be COMPUTE_UNITS.";
            return Err(ApiError::validation(message));
        }
        if let Some(tcu) = self.max_query_tcu {
            settings.max_query_tcu = checked("MaxQueryTCU", tcu)?;
        }
        let Some(Compute { compute_mode, provisioned_capacity }) = self.query_compute else {
            return Ok(());
        };
        settings.provisioned = match (compute_mode.as_deref(), provisioned_capacity) {
            (Some("PROVISIONED"), Some(capacity)) => {
                checked("TargetQueryTCU", capacity.target_query_tcu)?;
                Some(capacity)
            }
            (Some("PROVISIONED"), None) => {
                return Err(ApiError::validation("The mode PROVISIONED needs a ProvisionedCapacity."));
            }
            (_, Some(_)) => {
                return Err(ApiError::validation("ProvisionedCapacity needs the mode PROVISIONED."));
            }
            (Some(_), None) => None,
            (None, None) => return Ok(()),
        };
        Ok(())
    }
}

fn checked(member: &str, tcu: i64) -> Result<i64, ApiError> {
    if !(TCU_STEP..=TCU_MAX).contains(&tcu) || tcu % TCU_STEP != 0 {
        return Err(ApiError::validation(format!(
            "{member} must be a multiple of {TCU_STEP} from {TCU_STEP} to {TCU_MAX}, not {tcu}."
        )));
    }
    Ok(tcu)
}

impl Settings {
    fn described(&self) -> Value {
        let compute = match &self.provisioned {
            None => json!({ "ComputeMode": "ON_DEMAND" }),
            Some(Capacity { target_query_tcu, notification_configuration }) => {
                let mut capacity = json!({
                    "ActiveQueryTCU": target_query_tcu,
                    "LastUpdate": { "TargetQueryTCU": target_query_tcu, "Status": "SUCCEEDED" },
                });
                if let Some(notification) = notification_configuration {
                    capacity["NotificationConfiguration"] = notification.clone();
                }
                json!({ "ComputeMode": "PROVISIONED", "ProvisionedCapacity": capacity })
            }
        };
        json!({
            "MaxQueryTCU": self.max_query_tcu,
            "QueryPricingModel": "COMPUTE_UNITS",
            "QueryCompute": compute,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(settings: &mut Settings, input: Value) -> Result<(), ApiError> {
        super::super::json::read::<Update>(&UPDATE, input)?.apply(settings)
    }

    #[test]
    fn what_is_absent_stays_and_what_is_wrong_changes_nothing() {
        let mut settings = Settings::default();
        updated(&mut settings, json!({ "MaxQueryTCU": 8 })).expect("legal");
        let capacity = json!({ "TargetQueryTCU": 4 });
        let provisioned =
            json!({ "QueryCompute": { "ComputeMode": "PROVISIONED", "ProvisionedCapacity": capacity } });
        updated(&mut settings, provisioned).expect("legal");
        let before = settings.clone();
        for wrong in [
            json!({ "MaxQueryTCU": 6 }),
            json!({ "MaxQueryTCU": 1004 }),
            json!({ "QueryPricingModel": "BYTES_SCANNED" }),
            json!({ "QueryCompute": { "ComputeMode": "ON_DEMAND", "ProvisionedCapacity": capacity } }),
            json!({ "QueryCompute": { "ComputeMode": "PROVISIONED" } }),
        ] {
            assert_eq!(updated(&mut settings, wrong).expect_err("refused").code(), "ValidationException");
            assert_eq!(settings, before);
        }
        updated(&mut settings, json!({ "QueryCompute": {} })).expect("nothing to change");
        assert_eq!(settings.described()["QueryCompute"]["ProvisionedCapacity"]["ActiveQueryTCU"], 4);
        updated(&mut settings, json!({ "QueryCompute": { "ComputeMode": "ON_DEMAND" } })).expect("legal");
        assert_eq!(settings.described()["QueryCompute"], json!({ "ComputeMode": "ON_DEMAND" }));
        assert_eq!(settings.max_query_tcu, 8);
    }
}
