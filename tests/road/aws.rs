//! The AWS calls of the tests, as an SDK sends them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE};

/// An answer: its status and its JSON.
pub(crate) type Answer = (u16, Value);

/// Sends one operation; nothing if the daemon goes away before it has answered.
pub(crate) fn call(address: SocketAddr, operation: &str, input: &Value) -> Option<Answer> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let mut response = ureq::Agent::from(config.build())
        .post(format!("http://{address}/"))
        .header("X-Amz-Target", format!("Timestream_20181101.{operation}"))
        .header("Content-Type", "application/x-amz-json-1.0")
        .send(input.to_string())
        .ok()?;
    let body = response.body_mut().read_to_string().ok()?;
    Some((response.status().as_u16(), serde_json::from_str(&body).expect("JSON")))
}

impl Daemon {
    /// Sends one operation.
    pub(crate) fn call(&self, operation: &str, input: &Value) -> Answer {
        call(self.http, operation, input).expect("an answer")
    }

    /// Sends one operation that must succeed.
    pub(crate) fn done(&self, operation: &str, input: &Value) -> Value {
        let (status, body) = self.call(operation, input);
        assert_eq!(status, 200, "{operation}: {body}");
        body
    }

    /// Every row of a query, page by page, as text; NULL is `-`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut token = Value::Null;
        loop {
            let page = self.done("Query", &json!({ "QueryString": sql, "NextToken": token }));
            for row in page["Rows"].as_array().expect("rows") {
                rows.push(row["Data"].as_array().expect("data").iter().map(text).collect());
            }
            token = page["NextToken"].clone();
            if token.is_null() {
                return rows;
            }
        }
    }

    /// The rows of a query once it has `count` of them.
    pub(crate) fn rows_when(&self, sql: &str, count: usize) -> Vec<Vec<String>> {
        let started = Instant::now();
        loop {
            let (status, body) = self.call("Query", &json!({ "QueryString": sql }));
            if status == 200 && body["Rows"].as_array().is_some_and(|rows| rows.len() >= count) {
                return self.rows(sql);
            }
            assert!(started.elapsed() < PATIENCE, "{count} rows did not appear: {body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn text(datum: &Value) -> String {
    datum["ScalarValue"].as_str().unwrap_or("-").to_owned()
}
