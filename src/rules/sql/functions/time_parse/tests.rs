//! What JDK 11 reads, and what it refuses.

use super::*;

fn read(text: &str, pattern: &str) -> Option<i64> {
    Pattern::new(pattern).unwrap_or_else(|| panic!("{pattern} is a pattern")).read(text)
}

#[test]
fn texts_are_read_as_java_reads_them() {
    let cases = [
        ("20201231235959123", "yyyyMMddHHmmssSSS", Some(1_609_459_199_123)),
        ("2020-02-31", "yyyy-MM-dd", Some(1_582_934_400_000)),
        ("2020-04-32", "yyyy-MM-dd", None),
        ("2020-04-03T24:00", "yyyy-MM-dd'T'HH:mm", Some(1_585_958_400_000)),
        ("2020-04-03T24:01", "yyyy-MM-dd'T'HH:mm", None),
        ("2020-04-03 12:30 AM", "yyyy-MM-dd hh:mm a", Some(1_585_873_800_000)),
        ("2020-04-03 12:30 PM", "yyyy-MM-dd hh:mm a", Some(1_585_917_000_000)),
        ("2020-04-03 12:30 pm", "yyyy-MM-dd hh:mm a", None),
        ("2020-04-03 13:30 PM", "yyyy-MM-dd hh:mm a", None),
        ("2020-04-03 05:30", "yyyy-MM-dd hh:mm", Some(1_585_872_000_000)),
        ("Fri, 3 Apr 2020", "EEE, d MMM yyyy", Some(1_585_872_000_000)),
        ("Sat, 3 Apr 2020", "EEE, d MMM yyyy", None),
        ("Friday 03 April 20", "EEEE dd MMMM yy", Some(1_585_872_000_000)),
        ("fri, 3 Apr 2020", "EEE, d MMM yyyy", None),
        ("2020-094", "yyyy-DDD", Some(1_585_872_000_000)),
        ("2019-366", "yyyy-DDD", None),
        ("0044-03-15 BC", "yyyy-MM-dd G", Some(-63_517_824_000_000)),
        ("-0043-03-15", "uuuu-MM-dd", Some(-63_517_824_000_000)),
        ("12020-04-03", "yyyy-MM-dd", None),
        ("+12020-04-03", "yyyy-MM-dd", Some(317_155_392_000_000)),
        ("2020-04-03T09:45:18Z", "yyyy-MM-dd'T'HH:mm:ssX", Some(1_585_907_118_000)),
        ("2020-04-03T09:45:18Z", "yyyy-MM-dd'T'HH:mm:ss'Z'", Some(1_585_907_118_000)),
        ("2020-04-03T09:45:18+01", "yyyy-MM-dd'T'HH:mm:ssX", Some(1_585_903_518_000)),
        ("2020-04-03T09:45:18+0130", "yyyy-MM-dd'T'HH:mm:ssX", Some(1_585_901_718_000)),
        ("2020-04-03T09:45:18+01:30", "yyyy-MM-dd'T'HH:mm:ssXXX", Some(1_585_901_718_000)),
        ("2020-04-03T09:45:18+0130", "yyyy-MM-dd'T'HH:mm:ssXXX", None),
        ("2020-04-03T09:45:18Z", "yyyy-MM-dd'T'HH:mm:ssxxx", None),
        ("2020-04-03T09:45:18-0800", "yyyy-MM-dd'T'HH:mm:ssZ", Some(1_585_935_918_000)),
        ("2020-04-03T09:45:18GMT-8", "yyyy-MM-dd'T'HH:mm:ssO", Some(1_585_935_918_000)),
        ("2020-04-03T09:45:18GMT-08:00", "yyyy-MM-dd'T'HH:mm:ssZZZZ", Some(1_585_935_918_000)),
        ("2020-04-03T09:45:18+19:00", "yyyy-MM-dd'T'HH:mm:ssXXX", None),
        ("2020-04-03 09:45 PDT", "yyyy-MM-dd HH:mm z", Some(1_585_932_300_000)),
        ("2020-04-03 09:45 Pacific Daylight Time", "yyyy-MM-dd HH:mm zzzz", Some(1_585_932_300_000)),
        ("2020-04-03 09:45 Europe/Berlin", "yyyy-MM-dd HH:mm VV", Some(1_585_899_900_000)),
        ("2020-04-03 09:45 Mars/Base", "yyyy-MM-dd HH:mm VV", None),
        ("2020-04-03 09:45 GMT+01:00", "yyyy-MM-dd HH:mm VV", Some(1_585_903_500_000)),
        ("2020-04-03 09:45 UTC", "yyyy-MM-dd HH:mm VV", Some(1_585_907_100_000)),
        ("2020-04-03 09:45 Z", "yyyy-MM-dd HH:mm VV", Some(1_585_907_100_000)),
        // Clocks skip 02:00 to 03:00 and then show 02:00 to 03:00 twice.
        ("2020-03-29 02:30 Europe/Berlin", "yyyy-MM-dd HH:mm VV", Some(1_585_445_400_000)),
        ("2020-10-25 02:30 Europe/Berlin", "yyyy-MM-dd HH:mm VV", Some(1_603_585_800_000)),
        ("2020-04-03", "yyyy-MM-dd[ HH:mm[:ss]]", Some(1_585_872_000_000)),
        ("2020-04-03 09:45", "yyyy-MM-dd[ HH:mm[:ss]]", Some(1_585_907_100_000)),
        ("2020-04-03 09:45:18", "yyyy-MM-dd[ HH:mm[:ss]]", Some(1_585_907_118_000)),
        ("2020-04-03 09:45:", "yyyy-MM-dd[ HH:mm[:ss]]", None),
        ("3/4/2020 9:5", "d/M/yyyy H:m", Some(1_585_904_700_000)),
        ("2020-04-03 ", "yyyy-MM-dd", None),
        (" 2020-04-03", "yyyy-MM-dd", None),
        ("2020-4-3", "yyyy-MM-dd", None),
        ("2020-04-03 09:60", "yyyy-MM-dd HH:mm", None),
        ("2020-04", "yyyy-MM", None),
        ("09:45", "HH:mm", None),
        ("2020 Q2 04-03", "yyyy QQQ MM-dd", Some(1_585_872_000_000)),
        ("2020 Q1 04-03", "yyyy QQQ MM-dd", None),
        ("2020-04-03 5", "yyyy-MM-dd A", Some(1_585_872_000_005)),
        ("1969-12-31 23:59:59.9995", "yyyy-MM-dd HH:mm:ss.SSSS", Some(-1)),
        ("١٢", "yy", None),
        ("", "yyyy", None),
        ("-", "yyyy", None),
        ("99999999999999999999", "u", None),
    ];
    for (text, pattern, wanted) in cases {
        assert_eq!(read(text, pattern), wanted, "{text} by {pattern}");
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    let patterns = [
        "b",
        "YYYY",
        "ddd",
        "HHH",
        "aa",
        "V",
        "VVV",
        "zzzzz",
        "OO",
        "XXXXXX",
        "SSSSSSSSSS",
        "]",
        "'",
        "{",
        "ppH",
        "EEEEEE",
    ];
    for pattern in patterns {
        assert_eq!(Pattern::new(pattern), None, "{pattern}");
    }
    assert!(Pattern::new(&"[".repeat(17)).is_none());
    assert!(Pattern::new("[yyyy").is_some());
}

#[test]
fn noise_is_read_or_not_but_never_panics() {
    const LETTERS: &[u8] = b"GuyDMLdQqEahKkHmsSAnNVzOXxZ[]'-: 0123456789+Tt";
    let mut noise = 88_172_645_463_325_252_u64;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        usize::try_from(noise >> 33).expect("31 bits")
    };
    let mut patterns = 0;
    for _ in 0..20_000 {
        let mut pattern = String::new();
        for _ in 0..6 {
            let letter = char::from(LETTERS[next() % LETTERS.len()]);
            pattern.extend(std::iter::repeat_n(letter, next() % 4 + 1));
        }
        let Some(checked) = Pattern::new(&pattern) else { continue };
        patterns += 1;
        for text in ["2020-04-03T10:15:30Z", "20200403101530", "-5", "", "+01:00", "é€"] {
            let _ = checked.read(text);
        }
    }
    assert!(patterns > 1_000, "{patterns}");
}
