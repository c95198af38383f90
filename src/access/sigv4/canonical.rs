//! A request in the one form that both sides hash.

use std::borrow::Cow;

use super::Head;

/// The canonical request, without the query parameters `left_out`.
pub(super) fn request(
    head: &Head<'_>,
    signed_headers: &[String],
    left_out: &[&str],
    body_hash: &str,
) -> Vec<u8> {
    let mut text = Vec::new();
    for line in [head.method, &path(head.path), &query(head.query, left_out)] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    for name in signed_headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for (index, value) in head.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            value_to(&mut text, value.as_bytes());
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(body_hash.as_bytes());
    text
}

/// The path without empty and dotted segments, encoded once more: all services but S3 do it so.
fn path(wire: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in wire.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut path = String::from("/");
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            path.push('/');
        }
        encode(&mut path, segment.as_bytes());
    }
    if wire.ends_with('/') && !segments.is_empty() {
        path.push('/');
    }
    path
}

/// The parameters in the order of their encoded names, then values.
fn query(wire: &str, left_out: &[&str]) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in wire.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        if left_out.iter().any(|left_out| left_out.as_bytes() == &*name) {
            continue;
        }
        let mut encoded = (String::new(), String::new());
        encode(&mut encoded.0, &name);
        encode(&mut encoded.1, &decode(value));
        pairs.push(encoded);
    }
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Without spaces around it, and with one where there were several.
fn value_to(text: &mut Vec<u8>, value: &[u8]) {
    let mut words = value.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        text.extend_from_slice(first);
    }
    for word in words {
        text.push(b' ');
        text.extend_from_slice(word);
    }
}

fn encode(text: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// What `%` and two digits stand for; a `%` without them is itself. A plus is a plus.
pub fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}
