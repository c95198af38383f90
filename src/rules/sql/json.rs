//! Reads the JSON devices send, in one pass and without keeping the text of its numbers.
//!
//! This is the way of nearly every payload. It takes no text that is not JSON (RFC 8259), and gives up on
//! what is broken or nests too deep, so that serde_json can say what is wrong with it; see
//! [`super::payload`]. serde_json alone would cost a rule more than everything else: under the feature
//! that keeps numbers as they are written it makes a text of each one first.

use super::Version;
use super::number::{Decimal, Number};
use super::payload::DEPTH_MAX;
use super::value::{Name, Value, object_for};

/// How many members an object gets room for at first. Few inside: a payload may be a million empty objects.
const MEMBERS: [usize; 2] = [16, 4];
/// More digits than this may not fit 64 bits.
const SHORT_DIGITS: usize = 18;

/// The value that `bytes` spell; `None` unless they are JSON within the bounds, whole and without more behind.
pub(super) fn read(bytes: &[u8], version: Version) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader { text, at: 0, version };
    let value = reader.value(0)?;
    reader.blanks();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'t> {
    text: &'t str,
    /// Always at the beginning of a letter.
    at: usize,
    version: Version,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// The value that comes next, `depth` lists and objects deep.
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.blanks();
        match self.peek()? {
            b'{' if depth < DEPTH_MAX => self.object(depth),
            b'[' if depth < DEPTH_MAX => self.array(depth),
            b'"' => Some(Value::Str(self.string(str::to_owned)?)),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(value)
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.takes(b']') {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.takes(b']') {
                return Some(Value::Array(items));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        self.blanks();
        if self.takes(b'}') {
            return Some(Value::Object(Box::default()));
        }
        let mut members = object_for(MEMBERS[usize::from(depth > 0)]);
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return None;
            }
            let name = self.string(Name::from)?;
            self.blanks();
            if !self.takes(b':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            members.insert(name, value);
            self.blanks();
            if self.takes(b'}') {
                return Some(Value::Object(Box::new(members)));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    /// The string that begins here, made what it is to be by `keep`.
    fn string<T: From<String>>(&mut self, keep: impl FnOnce(&'t str) -> T) -> Option<T> {
        let begin = self.at + 1;
        let mut end = begin;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(end)? {
                b'"' => {
                    self.at = end + 1;
                    return self.text.get(begin..end).map(keep);
                }
                b'\\' => return self.escaped().map(T::from),
                0..0x20 => return None,
                _ => end += 1,
            }
        }
    }

    /// The string that begins here and has escapes: rare enough to leave it to serde_json.
    fn escaped(&mut self) -> Option<String> {
        let mut strings = serde_json::Deserializer::from_str(self.text.get(self.at..)?).into_iter::<String>();
        let string = strings.next()?.ok()?;
        self.at += strings.byte_offset();
        Some(string)
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - begin
    }

    fn number(&mut self) -> Option<Value> {
        let begin = self.at;
        let negative = self.takes(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || leading_zero && whole > 1 {
            return None;
        }
        let mut places = 0;
        if self.takes(b'.') {
            places = self.digits();
            if places == 0 {
                return None;
            }
        }
        let mut plain = whole + places <= SHORT_DIGITS;
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            let _ = self.takes(b'+') || self.takes(b'-');
            if self.digits() == 0 {
                return None;
            }
            plain = false;
        }
        let text = self.text.get(begin..self.at)?;
        Some(if plain {
            self.short(text, negative, places)
        } else {
            // A number too large for the language has no value.
            Number::parse(text).map_or(Value::Undefined, |number| self.version.value(number))
        })
    }

    /// A number of few digits and no exponent, of which `places` stand behind the point.
    fn short(&self, text: &str, negative: bool, places: usize) -> Value {
        let digits = text.bytes().filter(u8::is_ascii_digit);
        let magnitude = digits.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let digits = if negative { -magnitude } else { magnitude };
        if places == 0 {
            return Value::Int(digits.into());
        }
        let unit = 10_i64.pow(u32::try_from(places).unwrap_or(0));
        match digits % unit {
            0 if self.version != Version::V2015 => Value::Int((digits / unit).into()),
            _ => Value::Decimal(Decimal::short(digits, places)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::read_slowly;
    use super::*;

    const VERSIONS: [Version; 2] = [Version::V2015, Version::V2016];

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        let texts = [
            r#"{"a":1,"b":[true,false,null,"x"],"c":{"d":{}},"e":[],"":-0,"z":-0.0}"#,
            " [ 1 , -2.50 ,\t3E2,\n4e-3, 5.0E+1 ,\r0.000, 10.0, 1e999, 1E-999, 1E9999, 0.10e1 ] ",
            r#"["\u00e9\ud83d\ude00\\\/\"\b\f\n\r\t", "é😀", "\u0000"]"#,
            r#"{"a":1,"a":2,"b":3,"a":{"\u0061":4}}"#,
            "[123456789012345678, 1234567890123456789, 12345678901234567890123456789012345678, 0.1234567890123456789]",
            "[999999999999999999, -999999999999999999, 9999999999999999999999999999999999, -0.000000000000000001]",
            "[99999999999999999999999999999999999, 1.00000000000000000000000000000000000000]",
            "5",
            "\"x\"",
        ];
        for text in texts {
            for version in VERSIONS {
                let value = read(text.as_bytes(), version).unwrap_or_else(|| panic!("{text} is JSON"));
                let wanted = read_slowly(text.as_bytes(), version).expect("JSON");
                assert_eq!(format!("{value:?}"), format!("{wanted:?}"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_left_to_others() {
        let texts = [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "{1:2}",
            "[1]]",
            "{} x",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "--1",
            "-a",
            "0x1",
            "1_0",
            "tru",
            "nul",
            "falsy",
            "truetrue",
            "NaN",
            "Infinity",
            "'a'",
            "\"a",
            "\"a\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\t\"",
            "[\"\u{1}\"]",
            "\u{feff}{}",
            "[1\u{a0}]",
            "[1]\0",
        ];
        for text in texts {
            assert!(read(text.as_bytes(), Version::V2016).is_none(), "{text}");
            assert!(read_slowly(text.as_bytes(), Version::V2016).is_err(), "{text}");
        }
        assert!(read(b"[\"\xff\"]", Version::V2016).is_none());
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(nested(DEPTH_MAX).as_bytes(), Version::V2016).is_some());
        assert!(read(nested(DEPTH_MAX + 1).as_bytes(), Version::V2016).is_none());
    }

    /// Texts made of pieces of JSON: whatever one way reads, the other reads the same.
    #[test]
    fn noise_is_read_alike() {
        const PIECES: [&str; 24] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\":",
            "\"\\n\"",
            "1",
            "-",
            "0",
            ".5",
            "e3",
            "E-2",
            "12.340",
            "true",
            "null",
            " ",
            "\"",
            "\\",
            "é",
            "9999999999999999999",
            "\"a\":[1,{\"b\":",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut read_count = 0;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 9 + 1 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push_str(PIECES[usize::try_from(state % 24).expect("small")]);
            }
            state = state.rotate_left(9);
            for version in VERSIONS {
                let (quick, slow) = (read(text.as_bytes(), version), read_slowly(text.as_bytes(), version));
                read_count += usize::from(quick.is_some());
                assert_eq!(format!("{quick:?}"), format!("{:?}", slow.ok()), "{text}");
            }
        }
        assert!(read_count > 100, "only {read_count} of the texts were JSON");
    }
}
