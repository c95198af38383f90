//! What is known of a caller, and the conditions a policy's statement makes of it.
//!
//! The operators are those whose meaning is plain for a broker and a database; a policy with any other
//! is refused when it is read, because a condition that is skipped would allow too much.

use std::borrow::Cow;
use std::net::IpAddr;

use super::pattern::Pattern;

/// What is known of a caller, by the names policies use: `iot:ClientId`, `aws:SourceIp` and so on.
pub trait Facts {
    /// The value of `key`; nothing when it has none.
    fn fact(&self, key: &str) -> Option<Cow<'_, str>>;

    /// The values of a `key` that may have several.
    fn facts(&self, key: &str) -> Vec<Cow<'_, str>> {
        self.fact(key).into_iter().collect()
    }
}

/// A caller of whom nothing is known.
#[derive(Debug, Clone, Copy)]
pub struct NoFacts;

impl Facts for NoFacts {
    fn fact(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoringCase,
    Like,
    Bool,
    Address,
    Null,
}

/// Of how many values of a key a condition speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    /// The only one.
    One,
    /// `ForAllValues:`: each, if there are any.
    All,
    /// `ForAnyValue:`: at least one.
    Any,
}

/// One condition of a statement: all of a statement's have to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    test: Test,
    /// `StringNotEquals` and the like: holds when none of the values fits.
    negated: bool,
    /// `…IfExists`: holds when the key has no value.
    if_exists: bool,
    quantity: Quantity,
    key: String,
    values: Vec<Pattern>,
    addresses: Vec<AddressRange>,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// When the operator is not one of those known, or a value is not of its kind.
    pub(super) fn parse(operator: &str, key: &str, values: &[String]) -> Result<Self, String> {
        let (quantity, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Quantity::All, name),
            Some(("ForAnyValue", name)) => (Quantity::Any, name),
            _ => (Quantity::One, operator),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (test, negated) = match name {
            "StringEquals" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoringCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoringCase, true),
            "StringLike" => (Test::Like, false),
            "StringNotLike" => (Test::Like, true),
            "Bool" => (Test::Bool, false),
            "IpAddress" => (Test::Address, false),
            "NotIpAddress" => (Test::Address, true),
            "Null" if !if_exists && quantity == Quantity::One => (Test::Null, false),
            _ => return Err(format!("the condition operator {operator} is not supported")),
        };
        let mut addresses = Vec::new();
        if test == Test::Address {
            for value in values {
                addresses.push(AddressRange::parse(value)?);
            }
        }
        let words = matches!(test, Test::Bool | Test::Null);
        if words && values.iter().any(|value| value != "true" && value != "false") {
            return Err(format!("the values of {operator} are \"true\" or \"false\""));
        }
        let values = values.iter().map(|value| Pattern::parse(value)).collect::<Result<_, _>>()?;
        Ok(Self { test, negated, if_exists, quantity, key: key.to_owned(), values, addresses })
    }

    /// Whether the condition holds for a caller.
    pub(super) fn holds(&self, facts: &dyn Facts) -> bool {
        let holds_for = |value: &Cow<'_, str>| self.fits(value, facts) != self.negated;
        match self.quantity {
            Quantity::One => {}
            Quantity::All => return facts.facts(&self.key).iter().all(holds_for),
            Quantity::Any => return facts.facts(&self.key).iter().any(holds_for),
        }
        let value = facts.fact(&self.key);
        if self.test == Test::Null {
            let absent = if value.is_none() { "true" } else { "false" };
            return self.texts(facts).any(|text| text == absent);
        }
        // What is not known equals nothing, and a condition that wants it unequal is content with that.
        let Some(value) = value else { return self.if_exists || self.negated };
        holds_for(&value)
    }

    fn fits(&self, value: &str, facts: &dyn Facts) -> bool {
        match self.test {
            Test::Equals => self.texts(facts).any(|text| text == value),
            Test::EqualsIgnoringCase | Test::Bool => {
                self.texts(facts).any(|text| text.eq_ignore_ascii_case(value))
            }
            Test::Like => {
                self.values.iter().filter_map(|pattern| pattern.bind(facts)).any(|glob| glob.matches(value))
            }
            Test::Address => {
                value.parse().is_ok_and(|address| self.addresses.iter().any(|range| range.holds(address)))
            }
            Test::Null => false,
        }
    }

    fn texts<'a>(&'a self, facts: &'a dyn Facts) -> impl Iterator<Item = String> + 'a {
        self.values.iter().filter_map(move |pattern| pattern.text(facts))
    }
}

/// An address, or all that begin like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AddressRange {
    bits: u128,
    mask: u128,
}

impl AddressRange {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address range such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        // An IPv4 address stands in the last bits of its IPv6 form, whose first 96 always count.
        Ok(Self { bits: bits(address) & mask, mask })
    }

    fn holds(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    let wide = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    wide.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str, &'static str);

    impl Facts for One {
        fn fact(&self, key: &str) -> Option<Cow<'_, str>> {
            (key == self.0).then_some(Cow::Borrowed(self.1))
        }
    }

    fn holds(operator: &str, key: &str, values: &[&str], facts: &dyn Facts) -> bool {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        Condition::parse(operator, key, &values).unwrap().holds(facts)
    }

    #[test]
    fn operators_compare() {
        let client = One("iot:ClientId", "Pump-1");
        for (operator, value, expected) in [
            ("StringEquals", "Pump-1", true),
            ("StringEquals", "pump-1", false),
            ("StringEquals", "Pump-*", false),
            ("StringNotEquals", "Pump-1", false),
            ("StringNotEquals", "x", true),
            ("StringEqualsIgnoreCase", "pump-1", true),
            ("StringLike", "Pump-*", true),
            ("StringNotLike", "Pump-?", false),
            ("StringEquals", "${iot:ClientId}", true),
            ("StringEquals", "${iot:Absent}", false),
            ("Null", "false", true),
            ("Null", "true", false),
        ] {
            assert_eq!(holds(operator, "iot:ClientId", &[value], &client), expected, "{operator} {value}");
        }
        assert!(holds("StringEquals", "iot:ClientId", &["a", "Pump-1"], &client));
        assert!(!holds("StringNotEquals", "iot:ClientId", &["a", "Pump-1"], &client));
    }

    #[test]
    fn what_is_not_known_equals_nothing() {
        for (operator, expected) in [
            ("StringEquals", false),
            ("StringNotEquals", true),
            ("StringEqualsIfExists", true),
            ("StringLike", false),
        ] {
            assert_eq!(holds(operator, "k", &["v"], &NoFacts), expected, "{operator}");
        }
        assert!(!holds("Bool", "aws:SecureTransport", &["true"], &NoFacts));
        assert!(holds("Null", "k", &["true"], &NoFacts));
    }

    #[test]
    fn of_several_values_all_or_any_have_to_fit() {
        struct Two;
        impl Facts for Two {
            fn fact(&self, _: &str) -> Option<Cow<'_, str>> {
                None
            }
            fn facts(&self, _: &str) -> Vec<Cow<'_, str>> {
                vec!["LastWill".into(), "PersistentConnect".into()]
            }
        }
        for (operator, values, expected) in [
            ("ForAllValues:StringEquals", &["LastWill"][..], false),
            ("ForAllValues:StringEquals", &["LastWill", "PersistentConnect"], true),
            ("ForAnyValue:StringEquals", &["LastWill"], true),
            ("ForAnyValue:StringLike", &["x*"], false),
            ("ForAllValues:StringNotEquals", &["LastWill"], false),
        ] {
            assert_eq!(holds(operator, "iot:ConnectAttributes", values, &Two), expected, "{operator}");
        }
        assert!(holds("ForAllValues:StringEquals", "k", &["v"], &NoFacts));
        assert!(!holds("ForAnyValue:StringEquals", "k", &["v"], &NoFacts));
    }

    #[test]
    fn addresses_lie_in_ranges() {
        for (range, address, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let facts = One("aws:SourceIp", address);
            assert_eq!(holds("IpAddress", "aws:SourceIp", &[range], &facts), expected, "{range} {address}");
            assert_eq!(holds("NotIpAddress", "aws:SourceIp", &[range], &facts), !expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (operator, value) in [
            ("DateLessThan", "2026-01-01T00:00:00Z"),
            ("ForSomeValues:StringEquals", "x"),
            ("ForAllValues:Null", "true"),
            ("NullIfExists", "true"),
            ("Bool", "yes"),
            ("IpAddress", "10.0.0.0/33"),
            ("IpAddress", "ten"),
            ("StringLike", "${"),
        ] {
            assert!(Condition::parse(operator, "k", &[value.to_owned()]).is_err(), "{operator} {value}");
        }
    }
}
