//! Decimal numbers of a spec: kept as their text, so that no floating point number stands in one.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// The longest text of a decimal: enough for every finite f64 that a person would type.
const MAX_TEXT: usize = 40;

/// A finite decimal number, such as `0.001`, `250` or `1e-6`.
///
/// Files may write it with or without quotes; it is kept and printed as its text, because
/// resources must not carry floating point numbers (Kubernetes API conventions, "Primitive types").
#[derive(Debug, Clone, PartialEq)]
pub struct Decimal {
    text: String,
    value: f64,
}

/// Why a text is no decimal number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a decimal number such as `0.001`, `250` or `1e-6`")]
pub struct DecimalError {
    found: String,
}

impl Decimal {
    /// The nearest f64; finite.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.value
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let error = || DecimalError { found: text.chars().take(MAX_TEXT).collect() };
        let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        if !plain || text.len() > MAX_TEXT {
            return Err(error());
        }
        let value: f64 = text.parse().map_err(|_| error())?;
        if !value.is_finite() {
            return Err(error());
        }
        Ok(Self { text: text.to_owned(), value })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number such as `0.001`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Decimal, E> {
                value.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Decimal, E> {
                value.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Decimal, E> {
                value.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// A structural schema has no union of number and string, so a custom resource takes any
    /// value here and the operator refuses what is no number.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "x-probegate-text": "decimal",
            "description": "A decimal number such as `0.001`, with or without quotes."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0.001", 0.001)]
    #[case("-3", -3.0)]
    #[case("1e-6", 1e-6)]
    fn a_decimal_keeps_its_text(#[case] text: &str, #[case] value: f64) {
        let decimal: Decimal = text.parse().unwrap();
        assert_eq!((decimal.to_string().as_str(), decimal.value().to_bits()), (text, value.to_bits()));
    }

    #[rstest]
    #[case("")]
    #[case("NaN")]
    #[case("inf")]
    #[case("1e999")]
    #[case("0x10")]
    #[case("10%")]
    fn what_is_no_finite_number_is_refused(#[case] text: &str) {
        assert!(text.parse::<Decimal>().is_err());
    }

    #[test]
    fn a_bare_number_and_a_quoted_one_read_alike() {
        let bare: Decimal = serde_json::from_str("0.25").unwrap();
        let quoted: Decimal = serde_json::from_str("\"0.25\"").unwrap();
        assert_eq!(bare, quoted);
    }
}
