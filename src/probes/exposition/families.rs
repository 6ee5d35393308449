//! Families of metrics, and their text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A sample's labels and its value.
type Sample = (Vec<Label>, f64);
/// A label's name and its value.
type Label = (Cow<'static, str>, String);

/// Gauges by name.
#[derive(Debug, Default)]
pub(super) struct Families {
    all: BTreeMap<&'static str, (&'static str, Vec<Sample>)>,
}

impl Families {
    /// Adds a gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.labelled(name, help, Vec::<Label>::new(), value);
    }

    /// Adds a sample of a gauge with labels.
    pub(super) fn labelled(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(impl Into<Cow<'static, str>>, String)>,
        value: f64,
    ) {
        let labels = labels.into_iter().map(|(name, value)| (name.into(), value)).collect();
        self.all.entry(name).or_insert_with(|| (help, Vec::new())).1.push((labels, value));
    }

    /// The text format of Prometheus, in the order of the names.
    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        for (name, (help, samples)) in self.all {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (labels, value) in samples {
                text.push_str(name);
                for (index, (label, value)) in labels.iter().enumerate() {
                    let _ = write!(text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(value));
                }
                let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
            }
        }
        text
    }
}

/// A label's value as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut families = Families::default();
        families.gauge("b", "The second", 1.5);
        families.labelled("a", "The first", vec![("x", "1\"\\\n".to_owned()), ("y", String::new())], 0.0);
        families.labelled("a", "The first", vec![("x", "2".to_owned())], -1.0);
        let expected = "# HELP a The first\n# TYPE a gauge\na{x=\"1\\\"\\\\\\n\",y=\"\"} 0\na{x=\"2\"} -1\n\
                        # HELP b The second\n# TYPE b gauge\nb 1.5\n";
        assert_eq!(families.into_text(), expected);
    }
}
