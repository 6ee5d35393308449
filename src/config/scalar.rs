//! Single values: what YAML 1.2 says they are, beside the text that was typed.

use serde_json::Number;

use super::diagnostic::shorten;

/// A single value. The text is what stood in the file, without quotes and escapes resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Nothing: an empty value, `~` or `null`.
    Null {
        /// As typed.
        text: String,
    },
    /// `true` or `false`.
    Bool {
        /// The value.
        value: bool,
        /// As typed.
        text: String,
    },
    /// A whole number.
    Integer {
        /// The value.
        value: Number,
        /// As typed.
        text: String,
    },
    /// A number with a fraction or an exponent, or one that is too large for a whole one.
    Float {
        /// As typed.
        text: String,
    },
    /// A text.
    Text {
        /// The text.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// Bytes in base64 (`!!binary`), in files of others alone.
    Binary {
        /// As typed.
        text: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

impl Scalar {
    /// A value in quotes or in a block: a text, whatever it looks like.
    #[must_use]
    pub fn quoted(text: &str) -> Self {
        Self::Text { text: text.to_owned(), plain: false }
    }

    /// A value without quotes, by the core schema of YAML 1.2 (section 10.3.2).
    #[must_use]
    pub fn plain(text: &str) -> Self {
        let owned = text.to_owned();
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null { text: owned },
            "true" | "True" | "TRUE" => return Self::Bool { value: true, text: owned },
            "false" | "False" | "FALSE" => return Self::Bool { value: false, text: owned },
            _ => {}
        }
        match whole_number(text) {
            Whole::Number(value) => Self::Integer { value, text: owned },
            Whole::TooLarge => Self::Float { text: owned },
            Whole::No if is_float(text) => Self::Float { text: owned },
            Whole::No => Self::Text { text: owned, plain: true },
        }
    }

    /// The text as it was typed, quotes taken off.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Null { text }
            | Self::Bool { text, .. }
            | Self::Integer { text, .. }
            | Self::Float { text }
            | Self::Text { text, .. }
            | Self::Binary { text, .. } => text,
        }
    }

    /// What it is, for a message.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = shorten(self.text());
        match self {
            Self::Null { .. } => "nothing".to_owned(),
            Self::Bool { .. } => format!("the boolean `{text}`"),
            Self::Integer { .. } | Self::Float { .. } => format!("the number `{text}`"),
            Self::Text { .. } => format!("the text `{text}`"),
            Self::Binary { bytes, .. } => format!("{} bytes", bytes.len()),
        }
    }
}

/// A text as a whole number.
enum Whole {
    No,
    /// It is one, and larger than JSON carries exactly.
    TooLarge,
    Number(Number),
}

fn whole_number(text: &str) -> Whole {
    let radix = |digits: &str, radix: u32| {
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Whole::No;
        }
        u64::from_str_radix(digits, radix).map_or(Whole::TooLarge, |number| Whole::Number(number.into()))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Whole::No;
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let number = unsigned.parse::<i64>().map(Number::from).or_else(|_| unsigned.parse::<u64>().map(Number::from));
    number.map_or(Whole::TooLarge, Whole::Number)
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, and the infinities.
fn is_float(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()),
        None => digits(mantissa) && !mantissa.is_empty(),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_fits && exponent_fits
}

/// Whether older readers (YAML 1.1, kubectl among them) take this bare text for a boolean.
#[must_use]
pub(super) fn is_old_boolean(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" | "on" | "On" | "ON" | "off" | "Off" | "OFF"
    )
}

/// Whether this bare whole number is octal for older readers: `010` is ten here and eight there.
#[must_use]
pub(super) fn is_old_octal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "nothing")]
    #[case("~", "nothing")]
    #[case("True", "the boolean `True`")]
    #[case("yes", "the text `yes`")]
    #[case("12", "the number `12`")]
    #[case("+12", "the number `+12`")]
    #[case("0x1F", "the number `0x1F`")]
    #[case("0o17", "the number `0o17`")]
    #[case("1.5", "the number `1.5`")]
    #[case(".5", "the number `.5`")]
    #[case("1e-6", "the number `1e-6`")]
    #[case(".inf", "the number `.inf`")]
    #[case("99999999999999999999999", "the number `99999999999999999999999`")]
    #[case("22:30", "the text `22:30`")]
    #[case("1_000", "the text `1_000`")]
    #[case("v42", "the text `v42`")]
    #[case(".", "the text `.`")]
    #[case("e5", "the text `e5`")]
    #[case("2026-05-01", "the text `2026-05-01`")]
    fn a_bare_value_is_what_yaml_says(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Scalar::plain(text).describe(), expected);
    }

    #[rstest]
    #[case("010", true)]
    #[case("0", false)]
    #[case("10", false)]
    #[case("0.10", false)]
    fn a_leading_zero_is_octal_elsewhere(#[case] text: &str, #[case] octal: bool) {
        assert_eq!(is_old_octal(text), octal);
    }
}
