//! aws_lambda against a server of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use super::http::{Requests, serve};
use super::{Site, message};
use crate::mqtt::Ingest;
use crate::rules::{ActionKind, Rule, RuleSet, StandIns};

const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// A site with a rule whose statement may call `f(…)`, which `address` answers; failures of the statement
/// go to `errors.jsonl`.
async fn site(address: SocketAddr, select: &str, more: &str) -> Site {
    let sql = select.replace("f(", &format!("aws_lambda('{FUNCTION}', "));
    let rule = format!(
        "sql = \"SELECT {sql} FROM 'a'\"\nactions = [{{ file = {{ path = 'out.jsonl' }} }}{more}]\n\
         error_action = {{ file = {{ path = 'errors.jsonl' }} }}\nerror_action_for_sql = true"
    );
    let stand_ins = StandIns {
        functions: [(FUNCTION.to_owned(), format!("http://{address}/f").into())].into(),
        ..StandIns::default()
    };
    let rule = Rule::parse_toml_with("r", &rule, &stand_ins).expect("a rule");
    Site::with_rules(RuleSet::from_rules(vec![rule])).await
}

/// A function that says what it was asked.
async fn echo() -> (SocketAddr, Requests) {
    serve(|_, request| {
        let (_, body) = request.split_once("\r\n\r\n").expect("a body");
        Some(answer(200, "", &format!("{{\"said\":{body},\"n\":2.0}}")))
    })
    .await
}

/// What went wrong with the only message of `site`.
fn only_failure(site: &Site) -> String {
    assert_eq!(site.lines("out.jsonl").len(), 0);
    let [document] = &site.lines("errors.jsonl")[..] else { panic!("one document") };
    assert_eq!(document["failures"][0]["failedAction"], "SqlEvaluation");
    document["failures"][0]["errorMessage"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn the_answer_is_a_value_and_there_before_the_acknowledgement() {
    let (address, requests) = echo().await;
    let timestream = ", { timestream = { database_name = 'd', table_name = 't', dimensions = [{ name = 'x', \
                      value = \"${f(*).said.v}\" }], numeric = 'double' } }"
        .replace("f(", &format!("aws_lambda('{FUNCTION}', "));
    let site = site(address, "v, f({'a': v, 'b': missing}).said AS s, f({'a': v}).n AS n", &timestream).await;
    site.publish("a", r#"{"v": 1.5}"#).await;
    assert_eq!(site.lines("out.jsonl"), [json!({ "v": 1.5, "s": { "a": 1.5 }, "n": 2 })]);
    let requests = requests.lock().expect("no panic").clone();
    assert_eq!(requests.len(), 2, "what is asked twice is called once: {requests:?}");
    assert!(requests[0].starts_with("POST /f HTTP/1.1\r\n") && requests[0].ends_with("\r\n\r\n{\"a\":1.5}"));
    assert!(requests[1].ends_with("\r\n\r\n{\"v\":1.5}"), "the template's: {}", requests[1]);
    let rule = site.rule("r");
    assert_eq!((rule.matched, rule.fired, rule.records, rule.sql_failures), (1, 1, 3, 0));
}

#[tokio::test]
async fn a_call_may_need_the_answer_of_another_and_of_where() {
    let (address, requests) = echo().await;
    let site = site(address, "f({'again': f(*).said}).said AS s", "").await;
    site.publish("a", r#"{"v":1}"#).await;
    assert_eq!(site.lines("out.jsonl"), [json!({ "s": { "again": { "v": 1 } } })]);
    assert_eq!(requests.lock().expect("no panic").len(), 2);
    // Where `*` is no object the inner call is none, and the outer one's object has no members.
    site.publish("a", "no JSON").await;
    let requests = requests.lock().expect("no panic").clone();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].ends_with("\r\n\r\n{}"), "{}", requests[2]);
}

#[tokio::test]
async fn where_decides_before_anything_selected_is_called() {
    let (address, requests) = echo().await;
    let sql = "f({'at': 'select'}) AS s FROM 'a' WHERE f({'at': 'where'}).said.at = o.no OR v > 1 --";
    let rule = sql.replace(" --", "").replace("f(", &format!("aws_lambda('{FUNCTION}', "));
    let text = format!("sql = \"SELECT {rule}\"\nactions = [{{ file = {{ path = 'out.jsonl' }} }}]");
    let stand_ins = StandIns {
        functions: [(FUNCTION.to_owned(), format!("http://{address}/").into())].into(),
        ..StandIns::default()
    };
    let rule = Rule::parse_toml_with("r", &text, &stand_ins).expect("a rule");
    let site = Site::with_rules(RuleSet::from_rules(vec![rule])).await;
    site.publish("a", r#"{"v":1,"o":{"no":"x"}}"#).await;
    assert_eq!(requests.lock().expect("no panic").len(), 1, "WHERE is false, SELECT is not evaluated");
    site.publish("a", r#"{"v":2,"o":{"no":"x"}}"#).await;
    assert_eq!(requests.lock().expect("no panic").len(), 3);
    assert_eq!(site.lines("out.jsonl").len(), 1);
    let rule = site.rule("r");
    assert_eq!((rule.matched, rule.fired), (2, 1));
}

#[tokio::test]
async fn what_fails_fails_the_rule_and_get_or_default_has_a_substitute() {
    let broken: [(String, String); 5] = [
        (answer(500, "", "oops"), "the answer is 500 Internal Server Error".to_owned()),
        (answer(200, "", "oops"), "its answer is no JSON".to_owned()),
        (answer(200, "", ""), "its answer is no JSON".to_owned()),
        (
            answer(200, "X-Amz-Function-Error: Unhandled\r\n", "{\"errorMessage\":\"boom\"}"),
            "the function failed: {\"errorMessage\":\"boom\"}".to_owned(),
        ),
        (
            answer(200, "", &format!("[{}1]", "1,".repeat(70_000))),
            "the answer has more than 131072 bytes".to_owned(),
        ),
    ];
    for (said, reason) in broken {
        let (address, _) = serve(move |_, _| Some(said.clone())).await;
        let failing = site(address, "v, f(*) AS x, f({'never': v}) AS y", "").await;
        failing.publish("a", r#"{"v":1}"#).await;
        assert_eq!(only_failure(&failing), format!("aws_lambda: {FUNCTION}: {reason}"));
        assert_eq!(failing.rule("r").sql_failures, 1);
        let saved = site(address, "v, get_or_default(f(*).x, 'none') AS x", "").await;
        saved.publish("a", r#"{"v":1}"#).await;
        assert_eq!(saved.lines("out.jsonl"), [json!({ "v": 1, "x": "none" })]);
    }
}

#[tokio::test]
async fn no_answer_is_a_failure_in_time() {
    let (address, requests) = serve(|_, _| None).await;
    let silent = site(address, "f(*) AS x", "").await;
    let messages: Vec<_> = (0..20).map(|v| Arc::new(message("a", &format!("{{\"v\":{v}}}")))).collect();
    let done = futures::future::join_all(messages.iter().map(|message| async {
        let receipt = silent.pipeline.submit(message).await;
        receipt.await
    }))
    .await;
    assert!(done.iter().all(Result::is_ok), "failures are acknowledged");
    assert_eq!(requests.lock().expect("no panic").len(), 8, "the others had no turn in time");
    let documents = silent.lines("errors.jsonl");
    assert_eq!(documents.len(), 20);
    let reason = format!("aws_lambda: {FUNCTION}: there is no answer within 2000 ms");
    assert!(documents.iter().all(|document| document["failures"][0]["errorMessage"] == *reason));
    assert_eq!(silent.actions("r", ActionKind::File), (0, 0));
}

#[tokio::test]
async fn a_statement_makes_few_calls() {
    let (address, requests) = echo().await;
    let site = site(address, "(SELECT VALUE f({'n': n}).said.n FROM list AS n) AS l", "").await;
    site.publish("a", r#"{"list":[1,2,3,4,5,6,7,8,9,10]}"#).await;
    assert_eq!(site.lines("out.jsonl"), [json!({ "l": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] })]);
    site.publish("a", r#"{"list":[1,2,3,4,5,6,7,8,9,10,11]}"#).await;
    assert_eq!(requests.lock().expect("no panic").len(), 20);
    let failure = site.lines("errors.jsonl")[0]["failures"][0]["errorMessage"].clone();
    assert_eq!(failure, "the statement makes more than 10 calls of aws_lambda for one message");
}
