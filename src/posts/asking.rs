//! Requests whose answer somebody waits for: asked once, within a time that has an end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Response};

use super::{Place, cause};

/// The largest answer, in bytes: AWS's limit for a message.
const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// The header with which AWS's endpoints say that the function behind them failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";
/// How much of what a failed function says is passed on, in characters.
const COMPLAINT_LENGTH_MAX: usize = 200;

impl Place {
    /// Posts JSON to `url` when its turn comes and returns the answer's body; the turn counts against
    /// `within`. Nothing is repeated.
    ///
    /// # Errors
    /// Why there is no answer, as a sentence's end.
    pub async fn ask(&self, url: &str, json: Bytes, within: Duration) -> Result<Bytes, String> {
        // The first client takes its time to read the system's authorities, which is not the server's fault.
        let client = self.client()?;
        let asked = async {
            let _turn = self.turn().await?;
            exchange(client, url, json).await
        };
        match tokio::time::timeout(within, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("there is no answer within {} ms", within.as_millis())),
        }
    }
}

async fn exchange(client: &Client, url: &str, json: Bytes) -> Result<Bytes, String> {
    let request = client.post(url).header("Content-Type", "application/json").body(json);
    let failed = |error: reqwest::Error| format!("the request failed: {}", cause(&error));
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let of_function = response.headers().contains_key(FUNCTION_ERROR);
    let body = whole(response).await.map_err(|problem| match problem {
        Unread::Broken(error) => failed(error),
        Unread::TooLarge => format!("the answer has more than {ANSWER_BYTES_MAX} bytes"),
    })?;
    if !status.is_success() {
        return Err(format!("the answer is {status}"));
    }
    if of_function {
        let said: String = String::from_utf8_lossy(&body).chars().take(COMPLAINT_LENGTH_MAX).collect();
        return Err(format!("the function failed: {said}"));
    }
    Ok(body)
}

/// Why an answer could not be read.
enum Unread {
    Broken(reqwest::Error),
    TooLarge,
}

/// The body of an answer, which nobody is trusted to keep short.
async fn whole(mut response: Response) -> Result<Bytes, Unread> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
