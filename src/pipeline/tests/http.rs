//! The http action against a server of the test's own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Site, message, until};
use crate::mqtt::Ingest;
use crate::rules::ActionKind;

/// What a server was sent, request by request.
pub(super) type Requests = Arc<Mutex<Vec<String>>>;

/// A server that answers the n-th request with the n-th of `answers`, and with the last from then on; a
/// status of 0 is no answer at all.
async fn server(answers: &'static [u16]) -> (SocketAddr, Requests) {
    serve(move |place, _| {
        let status = *answers.get(place).or(answers.last()).expect("an answer");
        let location = if status == 302 { "Location: /elsewhere\r\n" } else { "" };
        (status > 0).then(|| {
            format!("HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n")
        })
    })
    .await
}

/// A server that answers a request by its number and its text; `None` is no answer at all.
pub(super) async fn serve(
    answer: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static,
) -> (SocketAddr, Requests) {
    let answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    let mut buffer = [0; 4096];
                    match socket.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(read) => request.extend_from_slice(&buffer[..read]),
                    }
                }
                let request = String::from_utf8(request).expect("UTF-8");
                let place = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.push(request.clone());
                    seen.len() - 1
                };
                match answer(place, &request) {
                    Some(answer) => drop(socket.write_all(answer.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    (address, requests)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

async fn site(url: &str, more: &str) -> Site {
    let rule = format!(
        "sql = \"SELECT v FROM 'a'\"\nactions = [{{ http = {{ url = '{url}', {more} }} }}]\n\
         error_action = {{ file = {{ path = 'errors.jsonl' }} }}"
    );
    Site::new(&[("r", &rule)]).await
}

#[tokio::test]
async fn the_result_is_posted() {
    let (address, requests) = server(&[204]).await;
    let header = "headers = [{ key = 'X-Device', value = '${id}' }]";
    let site = site(&format!("http://{address}/in/${{id}}?q=1"), header).await;
    site.publish("a", r#"{"v":1,"id":"d-1"}"#).await;
    until("one success", || site.actions("r", ActionKind::Http) == (1, 0)).await;
    let request = requests.lock().expect("no panic")[0].clone();
    let lower = request.to_lowercase();
    assert!(request.starts_with("POST /in/d-1?q=1 HTTP/1.1\r\n"), "{request}");
    assert!(lower.contains("\r\ncontent-type: application/json\r\n"), "{request}");
    assert!(lower.contains("\r\nx-device: d-1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"v\":1}"), "{request}");
    assert_eq!(site.pipeline.counters().http_waiting, 0);
}

#[tokio::test]
async fn what_may_help_is_tried_again() {
    let (address, requests) = server(&[503, 429, 200]).await;
    let site = site(&format!("http://{address}/"), "retries = 2").await;
    site.publish("a", r#"{"v":1}"#).await;
    until("one success", || site.actions("r", ActionKind::Http) == (1, 0)).await;
    assert_eq!(requests.lock().expect("no panic").len(), 3);
}

#[tokio::test]
async fn what_cannot_help_is_not_and_the_error_action_hears_why() {
    for (status, sentence) in [(404, "the answer is 404 Not Found"), (302, "the answer is 302 Found")] {
        let answers: &'static [u16] = if status == 404 { &[404] } else { &[302] };
        let (address, requests) = server(answers).await;
        let site = site(&format!("http://{address}/x?token=secret"), "retries = 5").await;
        site.publish("a", r#"{"v":1}"#).await;
        until("an error line", || site.lines("errors.jsonl").len() == 1).await;
        let document = &site.lines("errors.jsonl")[0];
        let failure = &document["failures"][0];
        assert_eq!(failure["failedAction"], "HttpAction");
        assert_eq!(failure["failedResource"], format!("http://{address}/x"), "without what may be secret");
        assert_eq!(failure["errorMessage"], format!("{sentence} (attempts: 1)"));
        assert_eq!(document["base64OriginalPayload"], "eyJ2IjoxfQ==");
        assert_eq!(requests.lock().expect("no panic").len(), 1);
        assert_eq!(site.pipeline.counters().dead_letters, 0);
    }
}

#[tokio::test]
async fn no_answer_and_nobody_there_are_failures() {
    let (address, requests) = server(&[0]).await;
    let silent = site(&format!("http://{address}/"), "timeout_ms = 30, retries = 1").await;
    silent.publish("a", r#"{"v":1}"#).await;
    until("an error line", || silent.lines("errors.jsonl").len() == 1).await;
    let message = silent.lines("errors.jsonl")[0]["failures"][0]["errorMessage"].clone();
    assert_eq!(message, "there is no answer within 30 ms (attempts: 2)");
    assert_eq!(requests.lock().expect("no panic").len(), 2);

    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let absent = site(&format!("http://{address}/"), "retries = 0").await;
    absent.publish("a", r#"{"v":1}"#).await;
    until("an error line", || absent.lines("errors.jsonl").len() == 1).await;
    let message = absent.lines("errors.jsonl")[0]["failures"][0]["errorMessage"].clone();
    assert!(message.as_str().is_some_and(|text| text.contains("refused")), "{message}");
}

#[tokio::test]
async fn a_silent_destination_costs_its_own_rule_only() {
    let (silent, _) = server(&[0]).await;
    let (quick, _) = server(&[200]).await;
    let rule = |address| {
        format!(
            "sql = \"SELECT v FROM 'a'\"\nactions = [{{ http = {{ url = 'http://{address}/', timeout_ms = 60000 }} }}]"
        )
    };
    let site = Site::new(&[("silent", &rule(silent)), ("quick", &rule(quick))]).await;
    for _ in 0..1_001 {
        site.publish("a", r#"{"v":1}"#).await;
        until("room", || site.pipeline.counters().http_waiting < 1_900).await;
    }
    until("quick answers", || site.actions("quick", ActionKind::Http) == (1_001, 0)).await;
    assert_eq!(site.actions("silent", ActionKind::Http), (0, 1));
    let error = site.rule("silent").last_error.expect("a last error").text;
    assert_eq!(error, "http: 1000 requests for it are waiting already");
    assert_eq!(site.pipeline.counters().http_waiting, 1_000);
}

#[tokio::test]
async fn stopping_keeps_what_was_not_sent() {
    let (address, requests) = server(&[0]).await;
    let rule = format!(
        "sql = \"SELECT v FROM 'a'\"\nactions = [{{ http = {{ url = 'http://{address}/', timeout_ms = 200 }} }}]"
    );
    let site = Site::new(&[("r", &rule)]).await;
    for number in 0..20 {
        let message = Arc::new(message("a", &format!("{{\"v\":{number}}}")));
        drop(site.pipeline.submit(&message).await);
    }
    until("requests under way", || requests.lock().expect("no panic").len() == 8).await;
    assert_eq!(site.pipeline.stop(Duration::from_secs(20)).await, 0);
    assert_eq!(site.dead_letters().len(), 20);
    assert_eq!(requests.lock().expect("no panic").len(), 8, "no new request, no repetition");
}

#[tokio::test]
async fn a_loop_over_failed_requests_ends() {
    let (address, requests) = server(&[400]).await;
    let action = format!("{{ http = {{ url = 'http://{address}/' }} }}");
    let rule = format!(
        "sql = \"SELECT * FROM 'a'\"\nactions = [{}]\nerror_action = {{ republish = {{ topic = 'a' }} }}",
        [&action[..]; 3].join(", ")
    );
    let site = Site::new(&[("r", &rule)]).await;
    site.publish("a", r#"{"v":1}"#).await;
    // Each message fails three times and would come again three times, eight times over.
    until("the last request", || site.actions("r", ActionKind::Http) == (0, 303)).await;
    until("the last letter", || site.dead_letters().len() == 203).await;
    assert_eq!(site.pipeline.counters().republished, 100);
    assert_eq!(requests.lock().expect("no panic").len(), 303);
}
