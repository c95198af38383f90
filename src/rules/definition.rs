//! A rule's text as the JSON of AWS's API, whatever spelling it came in.
//!
//! The API writes `awsIotSqlVersion`, CloudFormation `AwsIotSqlVersion`, our TOML
//! `aws_iot_sql_version`; `GetTopicRule` and `create-topic-rule --cli-input-json` put the rule inside
//! another object. All of them are one TopicRulePayload.

use serde_json::{Map, Value};

/// Objects a rule may stand in, with the rule's name beside it.
const WRAPPERS: &[&str] = &["rule", "topicRulePayload", "TopicRulePayload", "Properties"];
/// The key whose members are called as the rule's author likes, not as AWS does.
const BY_NAME: &str = "numeric";
/// How deep wrappers nest: CloudFormation's resource holds Properties, which hold TopicRulePayload.
const WRAPPERS_MAX: usize = 2;

/// `document` as the API spells a TopicRulePayload; `None` if it was spelled so already.
pub(super) fn respelled(document: Value) -> Option<Value> {
    let Value::Object(mut members) = document else { return None };
    let mut changed = members.remove("createdAt").is_some();
    let mut name = None;
    for _ in 0..WRAPPERS_MAX {
        let wrapper = WRAPPERS.iter().find(|wrapper| members.get(**wrapper).is_some_and(Value::is_object));
        let Some(wrapper) = wrapper else { break };
        let Some(Value::Object(inner)) = members.remove(*wrapper) else { break };
        name = members.remove("ruleName").or_else(|| members.remove("RuleName")).or(name);
        members = inner;
        members.remove("createdAt");
        changed = true;
    }
    if members.contains_key("Sql") {
        members = members.into_iter().map(uncapitalised_member).collect();
        changed = true;
    }
    if let Some(name) = name {
        members.entry("ruleName").or_insert(name);
    }
    changed.then_some(Value::Object(members))
}

/// The definition of a rule in JSON, which has been read before.
pub(super) fn of_json(text: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    without_ours(respelled(document.clone()).unwrap_or(document))
}

/// The definition of a rule in TOML, which has been read before.
pub(super) fn of_toml(text: &str) -> Value {
    let document: toml::Table = toml::from_str(text).unwrap_or_default();
    let mut definition = from_toml(toml::Value::Table(document));
    if let Some(members) = definition.as_object_mut() {
        members.remove("name");
    }
    without_ours(definition)
}

/// Name and examples stand elsewhere.
fn without_ours(mut definition: Value) -> Value {
    let Some(members) = definition.as_object_mut() else { return Value::Object(Map::new()) };
    members.remove("ruleName");
    members.remove("examples");
    members.entry("actions").or_insert_with(|| Value::Array(Vec::new()));
    definition
}

fn uncapitalise(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.into_iter().map(uncapitalised_member).collect()),
        Value::Array(items) => Value::Array(items.into_iter().map(uncapitalise).collect()),
        value => value,
    }
}

fn uncapitalised_member((key, value): (String, Value)) -> (String, Value) {
    let key = uncapitalised(&key);
    let value = if key == BY_NAME { value } else { uncapitalise(value) };
    (key, value)
}

fn uncapitalised(key: &str) -> String {
    let mut characters = key.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::Table(members) => Value::Object(members.into_iter().map(from_toml_member).collect()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(from_toml).collect()),
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
    }
}

fn from_toml_member((key, value): (String, toml::Value)) -> (String, Value) {
    let value = match value {
        toml::Value::Table(names) if key == BY_NAME => {
            Value::Object(names.into_iter().map(|(name, value)| (name, from_toml(value))).collect())
        }
        value => from_toml(value),
    };
    (camel_case(&key), value)
}

fn camel_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut after = false;
    for character in key.chars() {
        match character {
            '_' => after = true,
            _ if std::mem::take(&mut after) => out.push(character.to_ascii_uppercase()),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Rule;

    const TOML: &str = "sql = \"SELECT t FROM 'a/#'\"\ndescription = 'd'\n[[actions]]\n\
        timestream = { database_name = 'd', table_name = 't', dimensions = [{ name = 'n', value = '${topic(2)}' }], \
        timestamp = { value = '${ts}', unit = 'SECONDS' } }\n";

    #[test]
    fn every_spelling_is_one_definition() {
        let expected = json!({
            "sql": "SELECT t FROM 'a/#'",
            "description": "d",
            "awsIotSqlVersion": "2016-03-23",
            "ruleDisabled": false,
            "actions": [{ "timestream": {
                "databaseName": "d",
                "tableName": "t",
                "dimensions": [{ "name": "n", "value": "${topic(2)}" }],
                "timestamp": { "value": "${ts}", "unit": "SECONDS" },
            } }],
        });
        let cloudformation = json!({
            "Sql": "SELECT t FROM 'a/#'",
            "Description": "d",
            "AwsIotSqlVersion": "2016-03-23",
            "RuleDisabled": false,
            "Actions": [{ "Timestream": {
                "DatabaseName": "d",
                "TableName": "t",
                "Dimensions": [{ "Name": "n", "Value": "${topic(2)}" }],
                "Timestamp": { "Value": "${ts}", "Unit": "SECONDS" },
            } }],
        });
        let mut described = expected.clone();
        described["ruleName"] = json!("named");
        described["createdAt"] = json!("2026-01-02T03:04:05+00:00");
        let texts = [
            expected.clone(),
            cloudformation.clone(),
            json!({ "Type": "AWS::IoT::TopicRule", "Properties": { "RuleName": "named", "TopicRulePayload": cloudformation } }),
            json!({ "ruleName": "named", "topicRulePayload": expected }),
            json!({ "ruleArn": "arn:aws:iot:us-east-1:000000000000:rule/named", "rule": described }),
        ];
        assert_eq!(Rule::parse_toml("r", TOML).expect("a rule").definition(), &expected);
        for (index, text) in texts.iter().enumerate() {
            let rule =
                Rule::parse_json("r", &text.to_string()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rule.definition(), &expected, "{text}");
            assert_eq!(&**rule.name(), if index < 2 { "r" } else { "named" }, "{text}");
        }
    }

    #[test]
    fn names_the_author_chose_stay_as_they_are() {
        let text = "sql = \"SELECT * FROM 'a'\"\n[[actions]]\n[actions.timestream]\ndatabase_name = 'd'\n\
            table_name = 't'\nnumeric = { wind_speed = 'double' }\n";
        let rule = Rule::parse_toml("r", text).expect("a rule");
        assert_eq!(
            rule.definition()["actions"][0]["timestream"]["numeric"],
            json!({ "wind_speed": "double" })
        );
        let text = r#"{"Sql": "SELECT * FROM 'a'", "Actions": [{"Timestream": {"DatabaseName": "d", "TableName": "t",
            "Numeric": {"WindSpeed": "double"}}}]}"#;
        let rule = Rule::parse_json("r", text).expect("a rule");
        assert_eq!(
            rule.definition()["actions"][0]["timestream"]["numeric"],
            json!({ "WindSpeed": "double" })
        );
    }

    #[test]
    fn an_unknown_key_is_named_in_every_spelling() {
        let error =
            Rule::parse_json("r", r#"{"Sql": "SELECT * FROM 'a'", "Actoins": []}"#).expect_err("a typo");
        assert!(error.to_string().starts_with("unknown field `actoins`"), "{error}");
        let error =
            Rule::parse_json("r", "{\"sql\": \"SELECT * FROM 'a'\",\n \"actoins\": []}").expect_err("a typo");
        assert!(error.to_string().starts_with("line 2: unknown field `actoins`"), "{error}");
    }
}
