//! Calls to business checks.

use minijinja::Environment;
use serde_json_path::JsonPath;

use super::spot::Spot;
use super::{Judge, syntax};
use crate::api::{WebhookCheck, WebhookPoll, WebhookTls};
use crate::config::diagnostic::shorten;
use crate::model::Period;

impl Judge<'_> {
    pub(super) fn webhook(&mut self, spot: &Spot<'_>, webhook: &WebhookCheck, point_timeout: Period) {
        let found = syntax::url(&spot.field("url"), &webhook.url);
        self.found.extend(found);
        self.found.extend(syntax::headers(&spot.field("headers"), &webhook.headers));
        self.webhook_body(spot, webhook);
        if let Some(expect) = &webhook.expect {
            self.found.extend(syntax::expression(&spot.field("expect"), expect));
        }
        if let Some(json) = &webhook.expect_json {
            let spot = spot.field("expectJson");
            if let Err(error) = JsonPath::parse(&json.path) {
                let message = format!("`{}` is no JSON path: {error}", shorten(&json.path));
                self.report(spot.field("path").error("json-path", message).with_found(&json.path));
            }
            if json.equals.is_object() || json.equals.is_array() {
                self.report(
                    spot.field("equals")
                        .error("json-path", "one value is compared: a text, a number, true, false or null"),
                );
            }
        }
        if let Some(poll) = &webhook.poll {
            self.poll(&spot.field("poll"), poll, point_timeout);
        }
        if let Some(tls) = &webhook.tls {
            self.tls(&spot.field("tls"), tls, &webhook.url);
        }
    }

    fn webhook_body(&mut self, spot: &Spot<'_>, webhook: &WebhookCheck) {
        let Some(body) = &webhook.body else { return };
        if let Err(error) = Environment::new().template_from_str(body) {
            let line = error.line().map(|line| format!(" in line {line} of it")).unwrap_or_default();
            let why = error.detail().unwrap_or("a broken template");
            self.report(spot.field("body").error("template", format!("the template does not compile{line}: {why}")));
        }
        if matches!(webhook.method.as_deref(), Some("GET" | "HEAD")) {
            let method = webhook.method.as_deref().unwrap_or_default();
            self.report(spot.field("body").warning("webhook", format!("many servers ignore the body of a {method}")));
        }
    }

    fn poll(&mut self, spot: &Spot<'_>, poll: &WebhookPoll, point_timeout: Period) {
        if let Some(interval) = poll.interval {
            let spot = spot.field("interval");
            if interval.is_zero() {
                self.report(spot.error("time", "the time between two calls must be longer than 0s"));
            } else if interval.exact() >= point_timeout.exact() {
                let message =
                    format!("asked again after {interval}, when the point's timeout of {point_timeout} is over");
                self.report(spot.error("unreachable", message));
            }
        }
        if let Some(done) = &poll.done {
            self.found.extend(syntax::expression(&spot.field("done"), done));
        }
        if let Some(url) = poll.url.as_deref() {
            let spot = spot.field("url");
            match url.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(inner) => self.found.extend(syntax::expression(&spot, inner)),
                None if url.contains("${") => {}
                None => self.found.extend(syntax::url(&spot, url)),
            }
        }
    }

    fn tls(&mut self, spot: &Spot<'_>, tls: &WebhookTls, url: &str) {
        if url.starts_with("http://") {
            self.report(spot.warning("webhook", "the URL is http: these options have no effect"));
        }
        let files = [("caFile", &tls.ca_file), ("certFile", &tls.cert_file), ("keyFile", &tls.key_file)];
        for (field, path) in files {
            let found = path.as_deref().and_then(|path| syntax::secret_path(&spot.field(field), path));
            self.found.extend(found);
        }
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            self.report(spot.error("webhook", "a client certificate needs both certFile and keyFile"));
        }
        if tls.insecure_skip_verify {
            let message = "the server's certificate is not checked: whoever is in between can answer in its place";
            self.report(spot.field("insecureSkipVerify").warning("webhook", message));
        }
    }
}
