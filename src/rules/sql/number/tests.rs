//! Decimals against hand-checked results.

use super::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).expect("a number")
}

#[test]
fn decimals_are_read_and_printed_as_written() {
    for text in ["0", "10.0", "-1.2", "24.04", "5E-12", "1E+3", "0.000001", "1E-7", "9.99E+999", "1E-999"] {
        assert_eq!(decimal(text).to_string(), text);
    }
    assert_eq!(decimal("1e3").to_string(), "1E+3");
    assert_eq!(decimal("0.00").to_string(), "0.00");
}

#[test]
fn what_is_no_number_or_too_large_is_refused() {
    for text in
        ["", "-", ".5", "5.", "+5", "1E", "1E+", "1.2.3", " 5", "0x1", "1E1000", "1E999999999999999999999"]
    {
        assert!(Decimal::parse(text).is_none(), "{text}");
    }
    assert!(decimal("1E-999999999999").is_zero());
    assert_eq!(decimal("0E999999999").to_string(), "0");
}

#[test]
fn thirty_four_digits_are_kept_and_ties_go_to_even() {
    let kept = "1.234567890123456789012345678901234";
    assert_eq!(decimal(kept).to_string(), kept);
    assert_eq!(
        decimal("1.0000000000000000000000000000000005").to_string(),
        "1.000000000000000000000000000000000"
    );
    assert_eq!(
        decimal("1.00000000000000000000000000000000050000000001").to_string(),
        "1.000000000000000000000000000000001"
    );
    assert_eq!(decimal(&"9".repeat(35)).to_string(), "1.000000000000000000000000000000000E+35");
    assert_eq!(decimal(&"7".repeat(100_000)[..900]).to_string().len(), 40);
}

#[test]
fn arithmetic_is_decimal() {
    let sum = decimal("0.1").plus(decimal("0.2")).expect("in range");
    assert_eq!(sum.to_string(), "0.3");
    assert_eq!(
        decimal("2").divided_by(decimal("3")).expect("in range").to_string(),
        format!("0.{}7", "6".repeat(33))
    );
    assert_eq!(decimal("10.0").divided_by(decimal("2")).expect("in range").to_string(), "5.0");
    assert_eq!(decimal("2.5").divided_by(decimal("2")).expect("in range").to_string(), "1.25");
    assert!(decimal("1").divided_by(decimal("0.0")).is_none());
    assert_eq!(decimal("-7.5").remainder(decimal("2")).expect("in range").to_string(), "-1.5");
    assert_eq!(
        decimal("1E+999").plus(decimal("1E-999")).expect("in range").compare(decimal("1E+999")),
        Ordering::Equal
    );
    assert!(decimal("1E+999").times(decimal("10")).is_none());
    assert!(decimal("1E-999").times(decimal("1E-5")).expect("in range").is_zero());
    let wide = decimal("1234567890123456789012345678901234");
    assert_eq!(wide.times(wide).expect("in range").to_string(), "1.524157875323883675049535156256667E+66");
}

#[test]
fn rounding_follows_the_tables() {
    let cases =
        [("1.2", 1, 2, 1), ("-1.2", -2, -1, -1), ("1.5", 1, 2, 2), ("-1.5", -2, -1, -2), ("5E-900", 0, 1, 0)];
    for (text, floor, ceil, round) in cases {
        let value = decimal(text);
        assert_eq!(
            (value.floor(), value.ceil(), value.round()),
            (Some(floor), Some(ceil), Some(round)),
            "{text}"
        );
    }
    assert_eq!(decimal("1E+40").floor(), None);
    assert_eq!(decimal("2.888").truncated(2).to_string(), "2.88");
    assert_eq!(decimal("2.00").truncated(5).to_string(), "2");
    assert_eq!(decimal("10.0").whole(), Some(10));
    assert_eq!(decimal("10.5").whole(), None);
    assert_eq!(decimal("1E+3").whole(), Some(1000));
    assert_eq!(Number::Decimal(decimal("-2.411E+247")).floor_within(0, 34), 0);
}

#[test]
fn doubles_come_and_go() {
    for text in
        ["24.04", "-43.605", "0.1", "2147483647", "21474836.47", "2147483648.1", "0.00000000001", "1E-300"]
    {
        let double: f64 = text.parse().expect("a double");
        assert_eq!(decimal(text).to_f64().to_bits(), double.to_bits(), "{text}");
    }
    assert!(decimal("1E+999").to_f64().is_infinite());
    assert_eq!(Decimal::from_f64(3.0).expect("finite").to_string(), "3.0");
    assert!(Decimal::from_f64(f64::NAN).is_none());
}
