//! The flags that make a question, and what stands in for those that are left out.

use anyhow::{Context, bail};

use crate::api::{Gate, name_of, namespace_of};
use crate::config::{env, env_flag};
use crate::model::{Action, Batch, Change, Invoker, Labels, Point, Question};

/// What a gate is asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The question")]
pub(super) struct QuestionArgs {
    /// The gate, as NAMESPACE/NAME or NAME; may be left out where there is only one.
    #[arg(long, value_name = "GATE")]
    gate: Option<String>,
    /// The change's identity, the same for all its batches [default: TARGET-REVISION].
    #[arg(long, value_name = "ID")]
    change: Option<String>,
    /// What is being changed [default: what the gate stands in front of].
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The revision that the change brings: an image tag, a hash.
    #[arg(long, value_name = "REVISION")]
    revision: String,
    /// What the change does: release, rollback, scale or config.
    #[arg(long, value_name = "ACTION", default_value = "release")]
    action: Action,
    /// Who asks [default: the user that runs this; in a cluster whom it takes you for].
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Whether a person or automation asks [default: person, and automation where CI is set].
    #[arg(long, value_name = "KIND")]
    invoker: Option<Invoker>,
    /// The cluster that the target runs in.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// A label of the target, as KEY=VALUE; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The batch, as INDEX/TOTAL.
    #[arg(long, value_name = "INDEX/TOTAL", default_value = "1/1", value_parser = batch)]
    batch: (u32, u32),
    /// The share of the target that is changed when the batch is done [default: INDEX/TOTAL of 100].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: Option<u8>,
    /// Before or after the batch: pre or post.
    #[arg(long, value_name = "POINT", default_value = "pre")]
    point: Point,
}

/// The user that runs this, as the session has it.
pub(super) fn user() -> Option<String> {
    env("USER").or_else(|| env("LOGNAME"))
}

/// Reads `KEY=VALUE`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it like tier=web".to_owned()),
    }
}

fn batch(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "write it like 2/5, from 1/5 to 5/5".to_owned();
    let (index, total) = text.split_once('/').ok_or_else(wrong)?;
    let (index, total) = (index.parse().map_err(|_| wrong())?, total.parse().map_err(|_| wrong())?);
    if index == 0 || index > total { Err(wrong()) } else { Ok((index, total)) }
}

/// A gate's namespace and name from `NAMESPACE/NAME` or `NAME`.
fn named(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    }
}

impl QuestionArgs {
    /// The gate, as it was named.
    pub(super) fn gate(&self) -> Option<&str> {
        self.gate.as_deref()
    }

    /// The question of `user` to a gate of `gates`, or to one of those in one namespace: the resources
    /// are at hand.
    pub(super) fn among(
        &self,
        gates: &[std::sync::Arc<Gate>],
        within: Option<&str>,
        user: Option<String>,
    ) -> anyhow::Result<Question> {
        let inside = gates.iter().filter(|gate| within.is_none_or(|within| namespace_of(gate.as_ref()) == within));
        let inside: Vec<_> = inside.cloned().collect();
        let gate = self.choose(&inside)?;
        let target = match (&self.target, only_target(gate)) {
            (Some(target), _) => target.clone(),
            (None, Some(target)) => target,
            (None, None) => bail!(
                "gate {}/{} stands in front of several targets: say which one with --target",
                namespace_of(gate),
                name_of(gate)
            ),
        };
        Ok(self.question(namespace_of(gate), name_of(gate), target, user))
    }

    /// The question to a gate of a server, by default in `namespace`: the resources are not at hand.
    pub(super) fn remote(&self, namespace: &str) -> anyhow::Result<Question> {
        let gate = self.gate.as_deref().context("say which gate with --gate NAMESPACE/NAME")?;
        let (of_gate, name) = named(gate);
        let target = self.target.clone().unwrap_or_else(|| name.to_owned());
        Ok(self.question(of_gate.unwrap_or(namespace), name, target, user()))
    }

    fn choose<'a>(&self, gates: &'a [std::sync::Arc<Gate>]) -> anyhow::Result<&'a Gate> {
        let all = || {
            gates
                .iter()
                .map(|gate| format!("{}/{}", namespace_of(gate.as_ref()), name_of(gate.as_ref())))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let wanted = self.gate.as_deref().map(named);
        let mut fitting = gates.iter().filter(|gate| match wanted {
            None => true,
            Some((namespace, name)) => {
                name_of(gate.as_ref()) == name
                    && namespace.is_none_or(|namespace| namespace_of(gate.as_ref()) == namespace)
            }
        });
        match (fitting.next(), fitting.next(), self.gate.as_deref()) {
            (Some(gate), None, _) => Ok(gate),
            (Some(_), Some(_), Some(name)) => {
                bail!("there are several gates {name}: say NAMESPACE/NAME; there are {}", all())
            }
            (Some(_), Some(_), None) => {
                bail!("there are several gates: say which one with --gate; there are {}", all())
            }
            (None, _, _) if gates.is_empty() => {
                bail!("there is no gate there: name files with -f, or another namespace with -n")
            }
            (None, _, name) => bail!("there is no gate {}; there are {}", name.unwrap_or_default(), all()),
        }
    }

    fn question(&self, namespace: &str, gate: &str, target: String, user: Option<String>) -> Question {
        let (index, total) = self.batch;
        let share = u64::from(index) * 100 / u64::from(total).max(1);
        let percent = self.percent.unwrap_or_else(|| u8::try_from(share).unwrap_or(100));
        let actor = self.actor.clone().or(user);
        let usual = if env_flag("CI") { Invoker::Automation } else { Invoker::Person };
        Question {
            namespace: namespace.to_owned(),
            gate: gate.to_owned(),
            change: Change {
                id: self.change.clone().unwrap_or_else(|| format!("{target}-{}", self.revision)),
                target,
                revision: self.revision.clone(),
                action: self.action,
                actor: actor.unwrap_or_default(),
                invoker: self.invoker.unwrap_or(usual),
                cluster: self.cluster.clone(),
                labels: self.labels.iter().cloned().collect::<Labels>(),
            },
            batch: Batch { index, total, percent },
            point: self.point,
        }
    }
}

/// The one target that a gate stands in front of.
fn only_target(gate: &Gate) -> Option<String> {
    let target = &gate.spec.target;
    if let Some(workload) = &target.workload_ref {
        return Some(workload.name.clone());
    }
    match target.names.as_deref()? {
        [name] if !name.contains(['*', '?']) => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rstest::rstest;
    use serde_json::json;
    use std::sync::Arc;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        question: QuestionArgs,
    }

    fn parse(line: &str) -> QuestionArgs {
        Line::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}")).question
    }

    fn gate(namespace: &str, name: &str, names: &[&str]) -> Arc<Gate> {
        let gate = json!({"apiVersion": "probegate.io/v1alpha1", "kind": "Gate",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"target": {"names": names}, "pre": {}}});
        Arc::new(serde_json::from_value(gate).unwrap())
    }

    #[test]
    fn one_gate_with_one_target_needs_no_more_than_a_revision() {
        let question =
            parse("check --revision v42").among(&[gate("shop", "checkout", &["checkout"])], None, None).unwrap();
        assert_eq!((question.namespace.as_str(), question.gate.as_str()), ("shop", "checkout"));
        assert_eq!(question.change.target, "checkout");
        assert_eq!(question.change.id, "checkout-v42");
        assert_eq!(question.batch, Batch::default());
        assert_eq!(question.point, Point::Pre);
    }

    #[test]
    fn a_batch_has_its_share_of_the_target_unless_it_is_told() {
        let gates = [gate("shop", "checkout", &["checkout"])];
        let question = |line| parse(line).among(&gates, None, None).unwrap();
        assert_eq!(question("check --revision v1 --batch 2/5").batch, Batch { index: 2, total: 5, percent: 40 });
        assert_eq!(question("check --revision v1 --batch 2/5 --percent 10").batch.percent, 10);
    }

    #[rstest]
    #[case("check --revision v1", "there are several gates: say which one with --gate; there are a/x, b/x")]
    #[case("check --revision v1 --gate x", "there are several gates x: say NAMESPACE/NAME; there are a/x, b/x")]
    #[case("check --revision v1 --gate y", "there is no gate y; there are a/x, b/x")]
    #[case(
        "check --revision v1 --gate b/x",
        "gate b/x stands in front of several targets: say which one with --target"
    )]
    fn what_is_missing_is_asked_for_by_name(#[case] line: &str, #[case] message: &str) {
        let gates = [gate("a", "x", &["one"]), gate("b", "x", &["web-*"])];
        assert_eq!(parse(line).among(&gates, None, None).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_namespace_leaves_its_own_gates_alone_to_choose_from() {
        let gates = [gate("a", "x", &["one"]), gate("b", "x", &["two"])];
        let question = parse("check --revision v1").among(&gates, Some("b"), Some("alice".to_owned())).unwrap();
        assert_eq!((question.change.target.as_str(), question.change.actor.as_str()), ("two", "alice"));
    }

    #[rstest]
    #[case("--batch 0/5")]
    #[case("--batch 6/5")]
    #[case("--batch five")]
    #[case("--label tier")]
    #[case("--percent 101")]
    #[case("--point between")]
    #[case("--action deploy")]
    fn a_flag_that_makes_no_sense_is_refused(#[case] flag: &str) {
        assert!(Line::try_parse_from(format!("check --revision v1 {flag}").split_whitespace()).is_err());
    }
}
