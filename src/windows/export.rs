//! Windows as an iCalendar file, for people's calendars.

use std::fmt::Write;

use jiff::Timestamp;

use super::compile::Compiled;
use super::stretch::Stretch;
use crate::api::WindowType;

/// The longest line before it is folded, in bytes (RFC 5545, section 3.1).
const LINE_BYTES: usize = 75;

/// The stretches of `windows` that overlap `from` to `to`, as a calendar with one event each, in
/// UTC. A stretch without a known end is cut at `from` or `to`.
#[must_use]
pub fn to_ics<'a>(
    windows: impl IntoIterator<Item = &'a Compiled>,
    from: Timestamp,
    to: Timestamp,
    made_at: Timestamp,
) -> String {
    let mut out = String::new();
    for text in ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Probegate//Windows//EN", "CALSCALE:GREGORIAN"] {
        line(&mut out, text);
    }
    for window in windows {
        for stretch in window.stretches(from, to) {
            event(&mut out, window, stretch, (from, to), made_at);
        }
    }
    line(&mut out, "END:VCALENDAR");
    out
}

fn event(out: &mut String, window: &Compiled, stretch: Stretch, edges: (Timestamp, Timestamp), made_at: Timestamp) {
    let (start, end) = (stretch.since.unwrap_or(edges.0), stretch.until.unwrap_or(edges.1));
    let spec = &window.spec;
    let (kind, summary) = match window.kind() {
        WindowType::Freeze => ("FREEZE", "Freeze"),
        WindowType::Allow => ("ALLOW", "Releases allowed"),
    };
    let reason = spec.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    line(out, "BEGIN:VEVENT");
    line(out, &format!("UID:{}-{}-{}@probegate", start.as_second(), escape(&window.namespace), escape(&window.name)));
    line(out, &format!("DTSTAMP:{}", utc(made_at)));
    line(out, &format!("DTSTART:{}", utc(start)));
    line(out, &format!("DTEND:{}", utc(end)));
    line(out, &format!("SUMMARY:{}", escape(&format!("{summary}: {}{reason}", window.name))));
    line(out, &format!("CATEGORIES:{kind}"));
    let mut description = String::new();
    for (name, value) in [("Ticket", &spec.ticket), ("Owner", &spec.owner)] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(description, "{name}: {value}");
        }
    }
    if !description.is_empty() {
        line(out, &format!("DESCRIPTION:{}", escape(description.trim_end())));
    }
    line(out, "TRANSP:TRANSPARENT");
    line(out, "END:VEVENT");
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Text with its special characters escaped (RFC 5545, section 3.3.11).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            ';' => out.push_str("\\;"),
            ',' => out.push_str("\\,"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// One content line, folded between characters.
fn line(out: &mut String, text: &str) {
    let mut length = 0;
    for c in text.chars() {
        if length + c.len_utf8() > LINE_BYTES {
            out.push_str("\r\n ");
            length = 1;
        }
        out.push(c);
        length += c.len_utf8();
    }
    out.push_str("\r\n");
}
