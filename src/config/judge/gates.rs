//! Gates and their checks.

use jiff::SignedDuration;

use super::spot::Spot;
use super::{Judge, syntax};
use crate::api::{AnyResource, Check, CheckKind, Gate, LabelSelector, MetricCheck, ProbesCheck};
use crate::config::diagnostic::nearest;
use crate::gate::Plan;
use crate::model::{Action, Decimal, Mode, Period, Point};

/// The names that are filled into a query.
const QUERY_NAMES: [&str; 5] = ["target", "namespace", "cluster", "revision", "change"];
/// The most points of a range query: Prometheus itself refuses more.
const MAX_POINTS: i128 = 11_000;
/// The step of a range query where the spec gives none.
const DEFAULT_STEP: Period = Period::from_secs(15);

impl Judge<'_> {
    pub(super) fn gate(&mut self, spec: &Spot<'_>, gate: &Gate) {
        let selector = gate.spec.target.selector.as_ref();
        if selector.is_some_and(|selector| *selector == LabelSelector::default()) {
            let message = "an empty selector selects every target";
            self.report(spec.field("target").field("selector").warning("selects-all", message));
        }
        if let Some(pre) = &gate.spec.pre {
            let spot = spec.field("pre");
            for (field, period, what) in [
                ("timeout", pre.timeout, "the timeout"),
                ("validFor", pre.valid_for, "the time that a pass counts"),
                ("retryAfter", pre.retry_after, "the time that a block stands"),
            ] {
                self.not_zero(&spot.field(field), period, what);
            }
            self.checks(&spot, gate, Point::Pre, &pre.checks);
        }
        if let Some(post) = &gate.spec.post {
            let spot = spec.field("post");
            self.not_zero(&spot.field("timeout"), post.timeout, "the timeout");
            if let (Some(soak), Some(timeout)) = (post.soak, post.timeout)
                && timeout.exact() <= soak.exact()
            {
                let message =
                    format!("the timeout {timeout} is over before the soak of {soak} is: nothing could pass in time");
                self.report(spot.field("timeout").error("unreachable", message));
            }
            self.checks(&spot, gate, Point::Post, &post.checks);
        }
        if let Some(age) = gate.spec.history.and_then(|history| history.age) {
            self.not_zero(&spec.field("history").field("age"), Some(age), "the age");
        }
    }

    fn not_zero(&mut self, spot: &Spot<'_>, period: Option<Period>, what: &str) {
        if period.is_some_and(Period::is_zero) {
            self.report(spot.error("time", format!("{what} must be longer than 0s")));
        }
    }

    fn checks(&mut self, point_spot: &Spot<'_>, gate: &Gate, point: Point, checks: &[Check]) {
        let plan = Plan::resolve(gate, point, Action::Release);
        let spot = point_spot.field("checks");
        if checks.is_empty() {
            let message = format!("no checks: every question at {point} passes");
            self.report(point_spot.warning("no-checks", message));
        }
        for (index, check) in checks.iter().enumerate() {
            let spot = spot.item(index);
            self.check_times(&spot, check, &plan);
            match check.kind() {
                Some(CheckKind::Rule(path)) => self.rule(&spot, path, check),
                Some(CheckKind::Webhook(webhook)) => self.webhook(&spot.field("webhook"), webhook, plan.timeout),
                Some(CheckKind::Probes(probes)) => self.probes_check(&spot.field("probes"), probes),
                Some(CheckKind::Metric(metric)) => self.metric(&spot.field("metric"), metric),
                Some(CheckKind::Window(_)) | None => {}
            }
        }
    }

    fn check_times(&mut self, spot: &Spot<'_>, check: &Check, plan: &Plan) {
        self.not_zero(&spot.field("timeout"), check.timeout, "the timeout");
        self.not_zero(&spot.field("interval"), check.interval, "the interval");
        let limit = plan.timeout;
        if let Some(timeout) = check.timeout.filter(|timeout| timeout.exact() > limit.exact()) {
            let message =
                format!("one execution may take {timeout}, longer than the timeout of the whole point, {limit}");
            let spot = spot.field("timeout");
            let enforced = check.mode == Mode::Enforce;
            self.report(if enforced {
                spot.error("unreachable", message)
            } else {
                spot.warning("unreachable", message)
            });
        }
        if let Some(interval) = check.interval.filter(|interval| interval.exact() >= limit.exact()) {
            let message = format!(
                "executed again after {interval}, when the point's timeout of {limit} is over: it runs only once"
            );
            self.report(spot.field("interval").warning("unreachable", message));
        }
    }

    fn probes_check(&mut self, spot: &Spot<'_>, check: &ProbesCheck) {
        for (index, name) in check.names.iter().enumerate() {
            self.reference(&spot.field("names").item(index), "probe", name, AnyResource::as_probe);
        }
        let selects = !check.selector.is_empty() || !check.match_expressions.is_empty();
        if !selects || !self.whole {
            return;
        }
        let namespace = spot.sourced().resource.namespace().to_owned();
        let probes = self.in_namespace(&namespace, AnyResource::as_probe);
        let selector =
            LabelSelector { match_labels: check.selector.clone(), match_expressions: check.match_expressions.clone() };
        let none = crate::model::Labels::new();
        let selected = |labels: Option<&crate::model::Labels>| selector.matches(labels.unwrap_or(&none));
        if !probes.iter().any(|(_, probe)| selected(probe.metadata.labels.as_ref())) {
            let message = format!(
                "it selects none of the {} probes in namespace {namespace}: the check would stay unknown",
                probes.len()
            );
            let field = if check.selector.is_empty() { "matchExpressions" } else { "selector" };
            self.report(spot.field(field).warning("selects-nothing", message));
        }
    }

    fn metric(&mut self, spot: &Spot<'_>, metric: &MetricCheck) {
        if let Some(server) = &metric.server {
            self.found.extend(syntax::url(&spot.field("server"), server));
        }
        let value = |decimal: &Option<Decimal>| decimal.as_ref().map(Decimal::value);
        if let (Some(min), Some(max)) = (value(&metric.min), value(&metric.max))
            && min > max
        {
            self.report(spot.field("min").error("unreachable", "min is larger than max: no value is allowed"));
        }
        self.query_names(&spot.field("query"), &metric.query);
        self.not_zero(&spot.field("for"), metric.hold, "the range");
        self.not_zero(&spot.field("step"), metric.step, "the step");
        let Some(hold) = metric.hold else {
            if metric.step.is_some() {
                self.report(
                    spot.field("step").warning("metric", "without `for` there is no range and the step has no effect"),
                );
            }
            return;
        };
        let step = metric.step.unwrap_or(DEFAULT_STEP);
        if !step.is_zero() && metric.step.is_some() && step.exact() > hold.exact() {
            let message = format!("the step {step} is longer than the range {hold}: only one sample would be seen");
            self.report(spot.field("step").error("metric", message));
        }
        if points(hold, step).is_some_and(|points| points > MAX_POINTS) {
            let message =
                format!("{hold} in steps of {step} are more than {MAX_POINTS} points: Prometheus refuses that");
            self.report(spot.field("for").error("metric", message));
        }
    }

    /// `${…}` in a query is one of the names that are filled in.
    fn query_names(&mut self, spot: &Spot<'_>, query: &str) {
        for part in query.split("${").skip(1) {
            let Some((name, _)) = part.split_once('}') else {
                self.report(spot.error("query-name", "`${` without `}`"));
                return;
            };
            if !QUERY_NAMES.contains(&name) {
                let error = spot.error("query-name", format!("unknown name `${{{name}}}`"));
                let suggestion = nearest(name, QUERY_NAMES).map(|name| format!("${{{name}}}"));
                self.report(
                    error.with_allowed(QUERY_NAMES.map(|name| format!("${{{name}}}"))).with_suggestion(suggestion),
                );
            }
        }
    }
}

fn points(length: Period, step: Period) -> Option<i128> {
    let millis = |period: Period| SignedDuration::as_millis(&period.exact());
    millis(length).checked_div(millis(step))
}
