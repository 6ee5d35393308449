//! The tree of components: BEGIN and END.

use super::IcsError;
use super::lines::{self, Line};

/// The deepest nesting: a calendar, a zone or event, a part or alarm of it, and one to spare.
const MAX_DEPTH: usize = 8;

/// One component with its properties and the components inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    /// Where it begins.
    pub(super) line: usize,
    /// Its name in capitals.
    pub(super) name: String,
    pub(super) properties: Vec<Line>,
    pub(super) children: Vec<Component>,
}

impl Component {
    /// The one property of that name.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a Line>, IcsError> {
        let mut found = self.all(name);
        let first = found.next();
        match found.next() {
            Some(second) => Err(IcsError::at(second.number, format!("{name} stands twice in one {}", self.name))),
            None => Ok(first),
        }
    }

    /// Every property of that name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        self.properties.iter().filter(move |line| line.name == name)
    }
}

/// Reads a file: one calendar or several, and nothing else.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Component>, IcsError> {
    if bytes.trim_ascii().is_empty() {
        return Err(IcsError::whole("the calendar is empty"));
    }
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Err(IcsError::at(1, "this is a page (HTML or XML), not a calendar: does the address need a login?"));
    }
    let mut open: Vec<Component> = Vec::new();
    let mut calendars = Vec::new();
    for line in lines::parse(bytes)? {
        match line.name.as_str() {
            "BEGIN" => begin(&mut open, &line)?,
            "END" => end(&mut open, &mut calendars, &line)?,
            _ => match open.last_mut() {
                Some(component) => component.properties.push(line),
                None => return Err(IcsError::at(line.number, format!("{} stands outside BEGIN:VCALENDAR", line.name))),
            },
        }
    }
    if let Some(component) = open.last() {
        return Err(IcsError::at(
            component.line,
            format!("BEGIN:{} has no END:{}: the calendar is cut off", component.name, component.name),
        ));
    }
    for calendar in &calendars {
        check(calendar)?;
    }
    Ok(calendars)
}

fn begin(open: &mut Vec<Component>, line: &Line) -> Result<(), IcsError> {
    let name = line.value.trim_ascii_end().to_ascii_uppercase();
    if open.is_empty() && name != "VCALENDAR" {
        return Err(IcsError::at(
            line.number,
            format!("a calendar begins with BEGIN:VCALENDAR, not BEGIN:{}", cut(&name)),
        ));
    }
    if open.len() >= MAX_DEPTH {
        return Err(IcsError::at(line.number, format!("components are nested deeper than {MAX_DEPTH}")));
    }
    if !open.is_empty() && name == "VCALENDAR" {
        return Err(IcsError::at(line.number, "BEGIN:VCALENDAR inside a calendar"));
    }
    open.push(Component { line: line.number, name, properties: Vec::new(), children: Vec::new() });
    Ok(())
}

fn end(open: &mut Vec<Component>, calendars: &mut Vec<Component>, line: &Line) -> Result<(), IcsError> {
    let name = line.value.trim_ascii_end().to_ascii_uppercase();
    let Some(component) = open.pop() else {
        return Err(IcsError::at(line.number, format!("END:{} without BEGIN:{}", cut(&name), cut(&name))));
    };
    if component.name != name {
        return Err(IcsError::at(
            line.number,
            format!("END:{} where END:{} is due (it began on line {})", cut(&name), component.name, component.line),
        ));
    }
    match open.last_mut() {
        Some(parent) => parent.children.push(component),
        None => calendars.push(component),
    }
    Ok(())
}

/// What a calendar as a whole must be.
fn check(calendar: &Component) -> Result<(), IcsError> {
    if let Some(version) = calendar.one("VERSION")?.filter(|version| version.value.trim() != "2.0") {
        return Err(IcsError::at(version.number, format!("VERSION:{} is not read: only 2.0", cut(&version.value))));
    }
    if let Some(scale) = calendar.one("CALSCALE")?.filter(|scale| !scale.value.trim().eq_ignore_ascii_case("GREGORIAN"))
    {
        return Err(IcsError::at(scale.number, format!("CALSCALE:{} is not read: only GREGORIAN", cut(&scale.value))));
    }
    if calendar.children.is_empty() {
        return Err(IcsError::at(
            calendar.line,
            "the calendar has nothing in it: RFC 5545 wants at least one component",
        ));
    }
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
