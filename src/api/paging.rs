//! Pages of lists: `MaxResults` and `NextToken` (spec 2.1).
//!
//! A token names the last item of the page before, so that it stays right while items come and go.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::shape::{STRING, Shape};

/// The most results a page may have, and how many it has by default: scripts that read the first
/// page only get as much as AWS would ever give them.
pub(crate) const RESULTS_PER_PAGE_MAX: usize = 20;

/// The shape of `MaxResults`.
pub(crate) const MAX_RESULTS: Shape = Shape::Integer(1, 20);

/// The shape of a paging token: whether it was made here is found out when it is used.
pub(crate) const PAGING_TOKEN: Shape = STRING;

/// What a list call says about paging.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request {
    /// Where the page before ended.
    pub(crate) next_token: Option<String>,
    /// How many results the caller wants at most.
    pub(crate) max_results: Option<usize>,
}

impl Request {
    /// The page of `items`, which are sorted by `key`, and the token of the next page.
    ///
    /// # Errors
    /// When the token was not made here.
    pub(crate) fn cut<T>(
        self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let limit = self.max_results.unwrap_or(RESULTS_PER_PAGE_MAX);
        if let Some(last) = position(self.next_token)? {
            items.retain(|item| key(item) > last);
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| encode(&key(last)));
        Ok((items, next))
    }
}

/// The answer of a list call.
pub(crate) fn answer(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = json!({ name: items });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    answer
}

/// The key a request continues behind, if it continues.
///
/// # Errors
/// When the token was not made here.
pub(crate) fn position(token: Option<String>) -> Result<Option<String>, ApiError> {
    let token = token.filter(|token| !token.is_empty());
    let decoded =
        |token: String| decode(&token).ok_or_else(|| ApiError::validation("Invalid pagination token."));
    token.map(decoded).transpose()
}

/// The token that continues behind `key`.
pub(crate) fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The key a token stands for; `None` if it was not made here.
pub(crate) fn decode(token: &str) -> Option<String> {
    let digits = token.as_bytes();
    if !digits.len().is_multiple_of(2) || !token.is_ascii() {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(token: Option<String>, max: Option<usize>) -> (Vec<String>, Option<String>) {
        let names = ["a", "b", "b/x", "ü"].map(str::to_owned).to_vec();
        let request = Request { next_token: token, max_results: max };
        request.cut(names, Clone::clone).expect("a page")
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let (first, token) = page(None, Some(2));
        assert_eq!(first, ["a", "b"]);
        let (second, token) = page(token, Some(2));
        assert_eq!(second, ["b/x", "ü"]);
        assert_eq!(token, None);
        assert_eq!(page(None, None).0.len(), 4);
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for token in ["zz", "abc", "ü1", "ff"] {
            let request = Request { next_token: Some(token.into()), max_results: None };
            assert!(request.cut(vec![String::new()], Clone::clone).is_err(), "{token}");
        }
    }
}
