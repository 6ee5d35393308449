//! Labels, label expressions and name patterns.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// How an expression compares a label with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is absent, or there with none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// One set-based requirement on labels, as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : size(self.values) == 0",
     "message": "In and NotIn need values, Exists and DoesNotExist take none"}
]))]
pub struct Expression {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How to compare.
    pub operator: Operator,
    /// The values of `In` and `NotIn`.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// Why an expression cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// `In` and `NotIn` compare with something.
    #[error("operator {operator:?} on label `{key}` needs at least one value")]
    NoValues {
        /// The label.
        key: String,
        /// The operator.
        operator: Operator,
    },
    /// `Exists` and `DoesNotExist` compare with nothing.
    #[error("operator {operator:?} on label `{key}` takes no values")]
    Values {
        /// The label.
        key: String,
        /// The operator.
        operator: Operator,
    },
}

impl Expression {
    /// Whether `labels` meet it. An absent label meets `NotIn`, as in Kubernetes.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// # Errors
    /// Values where there must be none, or none where there must be some.
    pub fn check(&self) -> Result<(), SelectorError> {
        let (key, operator) = (self.key.clone(), self.operator);
        match (operator, self.values.is_empty()) {
            (Operator::In | Operator::NotIn, true) => Err(SelectorError::NoValues { key, operator }),
            (Operator::Exists | Operator::DoesNotExist, false) => Err(SelectorError::Values { key, operator }),
            _ => Ok(()),
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters and `?` for one.
///
/// Linear in the product of the lengths, without recursion: a pattern cannot be made slow.
#[must_use]
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = name.get(n) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&want) if want == '?' || want == c => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    p = star_p + 1;
                    n = star_n + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("eu-*", "eu-1", true)]
    #[case("eu-*", "us-1", false)]
    #[case("*", "", true)]
    #[case("a*b*c", "axxbyyc", true)]
    #[case("a*b*c", "axxbyy", false)]
    #[case("?", "", false)]
    #[case("che?kout", "checkout", true)]
    #[case("", "x", false)]
    fn a_pattern_fits_names(#[case] pattern: &str, #[case] name: &str, #[case] fits: bool) {
        assert_eq!(glob_matches(pattern, name), fits);
    }

    #[test]
    fn an_absent_label_meets_not_in() {
        let expression = Expression { key: "tier".into(), operator: Operator::NotIn, values: vec!["web".into()] };
        assert!(expression.matches(&Labels::new()));
    }
}
