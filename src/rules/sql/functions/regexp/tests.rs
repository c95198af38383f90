//! Java's regular expressions, and how much one may cost.

use std::time::{Duration, Instant};

use super::*;
use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::rules::{FailureReason, Outgoing, Rule, RuleSet};
use crate::topic::TopicName;

fn finds(pattern: &str, text: &str) -> Option<String> {
    let pattern = Pattern::new(pattern).unwrap_or_else(|| panic!("{pattern} is a pattern"));
    pattern.quick.find(text).expect("a cheap search").map(|found| found.as_str().to_owned())
}

#[test]
fn patterns_mean_what_they_mean_in_java() {
    let cases = [
        // Classes are ASCII.
        (r"\d+", "٣3", Some("3")),
        (r"(?U)\d+", "٣3", Some("٣3")),
        (r"\w+", "éab_1", Some("ab_1")),
        (r"\s", "\u{a0}", None),
        (r"\S\D\W", "a-é", Some("a-é")),
        (r"\h", "a\t", Some("\t")),
        (r"\h", "a", None),
        (r"\v", "\n", Some("\n")),
        (r"\p{Alpha}+", "éabc1", Some("abc")),
        (r"\p{L}+", "éabc1", Some("éabc")),
        (r"\p{IsGreek}", "xα", Some("α")),
        (r"\P{Lower}", "aA", Some("A")),
        (r"\p{Punct}", "a`", Some("`")),
        // Lines.
        ("a.b", "a\rb", None),
        ("(?s)a.b", "a\rb", Some("a\rb")),
        ("(?d)a.b", "a\rb", Some("a\rb")),
        ("a$", "a\n", Some("a")),
        ("a$", "a\r\n", Some("a")),
        ("a$", "a\n\n", None),
        (r"a\z", "a\n", None),
        (r"a\Z", "a\n", Some("a")),
        ("(?m)^b$", "a\nb\nc", Some("b")),
        ("(?m:^b)$", "a\nb", Some("b")),
        (r"a\Rb", "a\r\nb", Some("a\r\nb")),
        // Look-around, references, possessive and lazy quantifiers.
        (r"(?<=\$)\d+(?!\d|%)", "5% $42", Some("42")),
        (r"(\w)\1", "abccd", Some("cc")),
        (r"(?<q>['x]).*?\k<q>", "a 'b' 'c'", Some("'b'")),
        (r"(a)\2", "aa", None),
        (r"(a)\11", "aa1", Some("aa1")),
        ("a*+a", "aaa", None),
        ("a{1,2}+a", "aaa", Some("aaa")),
        ("a{2}+b", "aab", Some("aab")),
        ("(?>a|ab)c", "abc", None),
        ("a+?", "aaa", Some("a")),
        // Switches end with their group.
        ("(?i)AB", "xab", Some("ab")),
        ("((?i)A)B", "ab", None),
        ("(?i:A)b", "ab", Some("ab")),
        ("(?i:A)B", "ab", None),
        ("(?i)A(?-i)b|C", "aB c C", Some("C")),
        ("(x|(?i)a|b)C", "bc BC", Some("BC")),
        ("(?i)a*+B", "AAb", Some("AAb")),
        ("(?x) a b # c\n c", "abc", Some("abc")),
        // Quoting and escapes.
        (r"\Qa.b\E+", "a.bbb", Some("a.bbb")),
        (r"a\.b\-\/\<c", "a.b-/<c", Some("a.b-/<c")),
        (r"\x41\u0042\x{43}\0104\cA\e", "ABCD\u{1}\u{1b}", Some("ABCD\u{1}\u{1b}")),
        (r"\uD83D\uDE00", "😀", Some("😀")),
        ("}", "}", Some("}")),
        ("a{2,}", "aaa", Some("aaa")),
        // Brackets.
        ("[a-c&&[^b]]+", "bacb", Some("ac")),
        ("[a[xy]]+", "bxay", Some("xay")),
        (r"[\d\-x]+", "a1-x", Some("1-x")),
        (r"[\w-z]+", "é-a", Some("-a")),
        ("[]a]+", "a]b", Some("a]")),
        ("[^]a]", "a]b", Some("b")),
        ("[a-]+", "-a", Some("-a")),
        ("[--/]+", "a./", Some("./")),
        ("[a~~b]+", "~b", Some("~b")),
        (r"[\Q^]\E]+", "a]^", Some("]^")),
        ("[&]", "&", Some("&")),
        ("", "x", Some("")),
        ("a|", "b", Some("")),
    ];
    for (pattern, text, wanted) in cases {
        assert_eq!(finds(pattern, text).as_deref(), wanted, "{pattern} in {text:?}");
    }
}

#[test]
fn replacements_are_java_s() {
    let pattern = translate("(?<a>x)(y)").expect("a pattern");
    let group = |number| Part::Group(number);
    let text = |text: &str| Part::Text(text.to_owned());
    let parsed = |source: &str| Replacement::parse(source, &pattern).map(|replacement| replacement.0);
    assert_eq!(parsed("<$1$2$0>"), Some(vec![text("<"), group(1), group(2), group(0), text(">")]));
    assert_eq!(parsed("$12"), Some(vec![group(1), text("2")]));
    assert_eq!(parsed("${a}b"), Some(vec![group(1), text("b")]));
    assert_eq!(parsed(r"\$1\\\q"), Some(vec![text(r"$1\q")]));
    for source in ["$3", "$", "$x", "${b}", "${a", "\\", "a\\"] {
        assert_eq!(parsed(source), None, "{source}");
    }
}

#[test]
fn hostile_patterns_are_none_and_hostile_texts_end() {
    let started = Instant::now();
    for pattern in
        ["((a{500}){500}){500}", "(?:(?:(?:x{99}){99}){99})(?=y)", &"(".repeat(2_000), &"a".repeat(4_097)]
    {
        assert!(Pattern::new(pattern).is_none(), "{pattern:.40}");
    }
    let deep = format!("{}a{}", "(".repeat(1_500), ")".repeat(1_500));
    assert!(Pattern::new(&deep).is_none());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// What a rule makes of a text that is `text`.
fn outgoing(sql: &str, text: &str) -> Outgoing {
    let rule = Rule::parse_toml("r", &format!("sql = '''{sql}'''")).expect("a rule");
    let rules = RuleSet::from_rules(vec![rule]);
    let payload = serde_json::json!({ "text": text, "list": vec![text; 20], "re": r"(?:(a+)\1?)+c" });
    let message = Message {
        topic: TopicName::new("t").expect("a topic"),
        payload: payload.to_string().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
        origin: Origin::default(),
        received: Timestamp::from_nanos(0),
    };
    rules.outgoing("r", &message).expect("the rule")
}

#[test]
fn a_pattern_that_costs_too_much_fails_the_rule() {
    let started = Instant::now();
    let text = format!("c{}", "a".repeat(5_000));
    let costly = r"regexp_matches(text, '(?:(a+)\1?)+c')";
    assert_eq!(
        outgoing(&format!("SELECT {costly} AS m FROM 't'"), &text),
        Outgoing::Failed(FailureReason::PatternTooCostly)
    );
    assert_eq!(
        outgoing(r"SELECT regexp_substr(text, re) AS m FROM 't'", &text),
        Outgoing::Failed(FailureReason::PatternTooCostly)
    );
    let saved = outgoing(&format!("SELECT get_or_default({costly}, 'none') AS m FROM 't'"), &text);
    assert_eq!(saved, Outgoing::Json(r#"{"m":"none"}"#.to_owned()));
    let many = r"SELECT (SELECT VALUE regexp_replace(a, '(?=(a+))\1{0}', 'x') FROM list AS a) AS m FROM 't'";
    let steps = FailureReason::TooManySteps { limit: 1_000_000 };
    assert_eq!(outgoing(many, &text), Outgoing::Failed(steps), "every match is paid for");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_long_text_is_searched_with_patience() {
    let text = format!("{}bb", "a".repeat(20_000));
    let sql = r"SELECT VALUE regexp_substr(text, '(?<!a)(b)\1|(?<=a)(b)\2') FROM 't'";
    assert_eq!(outgoing(sql, &text), Outgoing::Json(r#""bb""#.to_owned()));
    let sql = r"SELECT VALUE length(regexp_replace(text, 'a(?=a)', '')) FROM 't'";
    assert_eq!(outgoing(sql, &text[15_000..]), Outgoing::Json("3".to_owned()));
}

#[test]
fn noise_is_a_pattern_or_none() {
    const PIECES: &[&str] = &[
        "a", "b", "é", "(", ")", "(?:", "(?<n>", "(?=", "(?<!", "(?i)", "(?-i:", "(?sx)", "[", "[^", "]",
        "-", "&&", "|", "*", "+", "?", "{2}", "{1,", "}", "\\", "\\d", "\\p{L}", "\\1", "\\k<n>", "\\Q",
        "\\E", "^", "$", ".", "\\b", "\\x4", "\\u00e9", "#", " ", "\n",
    ];
    let mut noise = 88_172_645_463_325_252_u64;
    let mut patterns = 0;
    for _ in 0..4_000 {
        let mut text = String::new();
        for _ in 0..8 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            text.push_str(PIECES[usize::try_from(noise >> 33).expect("31 bits") % PIECES.len()]);
        }
        if let Some(pattern) = Pattern::new(&text) {
            patterns += 1;
            let _ = pattern.quick.is_match("aéb-]a1 b\n");
            assert_eq!(pattern.quick.captures_len(), pattern.translated.groups + 1, "{text}");
        }
    }
    assert!(patterns > 100, "{patterns}");
}
