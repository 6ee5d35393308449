//! What a DNS answer must be: pure.

use regex::bytes::Regex;

use super::message::{Answer, NOERROR, rcode};
use crate::api::{DnsExpect, DnsRecords};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::expression;

/// The most records that stand in a message.
const MAX_SHOWN: usize = 4;

/// The compiled expectations of one list.
#[derive(Debug)]
pub(super) struct Expectations {
    /// Allowed response codes; empty for any.
    rcode: Vec<&'static str>,
    authoritative: Option<bool>,
    authenticated: Option<bool>,
    answer: Rules,
    authority: Rules,
    additional: Rules,
    /// How far serials may be apart.
    pub(super) lag: u32,
}

/// What the records of one section must be.
#[derive(Debug, Default)]
struct Rules {
    min: usize,
    max: Option<usize>,
    some: Vec<Regex>,
    all: Vec<Regex>,
    none: Vec<Regex>,
}

impl Expectations {
    /// Compiles what stands under `field`; `must` says that it is what must be, and not what should.
    pub(super) fn compile(field: &str, spec: &DnsExpect, must: bool) -> Result<Self, SpecError> {
        let codes = spec.rcode.iter().enumerate().map(|(place, text)| {
            rcode(text).ok_or_else(|| {
                let why = format!("`{text}` is no response code such as NOERROR or NXDOMAIN");
                SpecError::new(format!("{field}.rcode[{place}]"), why)
            })
        });
        let mut rcode = codes.collect::<Result<Vec<_>, _>>()?;
        if rcode.is_empty() && must {
            rcode.push(NOERROR);
        }
        let section = |name: &str, rules: Option<&DnsRecords>, least: usize| {
            Rules::compile(&format!("{field}.{name}"), rules, least)
        };
        Ok(Self {
            rcode,
            authoritative: spec.authoritative,
            authenticated: spec.authenticated,
            answer: section("answer", spec.answer.as_ref(), usize::from(must))?,
            authority: section("authority", spec.authority.as_ref(), 0)?,
            additional: section("additional", spec.additional.as_ref(), 0)?,
            lag: spec.max_serial_lag.unwrap_or(0),
        })
    }

    /// Whether an answer is as expected.
    pub(super) fn judge(&self, answer: &Answer) -> Result<(), Failure> {
        if !self.rcode.is_empty() && !self.rcode.contains(&answer.rcode.as_ref()) {
            let message = format!("answered {} where {} is expected", answer.rcode, self.rcode.join(" or "));
            return Err(Failure::new(Reason::Rcode, message));
        }
        let flags = [
            ("authoritative", self.authoritative, answer.authoritative),
            ("authenticated", self.authenticated, answer.authenticated),
        ];
        if let Some((name, _, found)) = flags.into_iter().find(|(_, wanted, found)| wanted.is_some_and(|w| w != *found))
        {
            let message = format!("the answer is {}{name}", if found { "" } else { "not " });
            return Err(Failure::new(Reason::Rcode, message));
        }
        // A code that says that there is nothing is not contradicted by there being nothing.
        self.answer.judge("answer", &answer.records, answer.rcode == NOERROR)?;
        self.authority.judge("authority", &answer.authority, true)?;
        self.additional.judge("additional", &answer.additional, true)
    }

    /// Whether the serials of servers agree.
    pub(super) fn agree(&self, serials: &[(String, u32)]) -> Result<(), Failure> {
        let apart = |one: u32, other: u32| one.wrapping_sub(other).min(other.wrapping_sub(one));
        for (place, (one, serial)) in serials.iter().enumerate() {
            let other = serials.iter().skip(place + 1).find(|(_, other)| apart(*serial, *other) > self.lag);
            if let Some((name, other)) = other {
                let message =
                    format!("{one} has the serial {serial}, {name} has {other}: {} are allowed between them", self.lag);
                return Err(Failure::new(Reason::Serial, message));
            }
        }
        Ok(())
    }
}

impl Rules {
    fn compile(field: &str, spec: Option<&DnsRecords>, least: usize) -> Result<Self, SpecError> {
        let Some(spec) = spec else { return Ok(Self { min: least, ..Self::default() }) };
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (min, max) = (spec.min.map_or(least, count), spec.max.map(count));
        // A greatest number below the default least one speaks for itself.
        let min = if spec.min.is_none() { min.min(max.unwrap_or(min)) } else { min };
        if max.is_some_and(|max| max < min) {
            return Err(SpecError::new(format!("{field}.max"), "it is less than min"));
        }
        let list = |name: &str, texts: &[String]| {
            let compiled = texts
                .iter()
                .enumerate()
                .map(|(place, text)| expression(&format!("{field}.{name}[{place}]"), Some(text)));
            compiled.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            min,
            max,
            some: list("some", &spec.some)?,
            all: list("all", &spec.all)?,
            none: list("none", &spec.none)?,
        })
    }

    fn judge(&self, section: &str, records: &[String], least: bool) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::new(Reason::Records, what));
        let count = records.len();
        if least && count < self.min {
            return wrong(format!("{count} records in the {section} section where {} are expected", self.min));
        }
        if let Some(max) = self.max.filter(|max| count > *max) {
            return wrong(format!("{count} records in the {section} section where {max} are allowed"));
        }
        let matches = |regex: &Regex, record: &String| regex.is_match(record.as_bytes());
        let unmet = self.some.iter().find(|regex| !records.iter().any(|record| matches(regex, record)));
        if let Some(regex) = unmet {
            return wrong(format!("no record of the {section} section matches `{regex}`: {}", shown(records)));
        }
        let stray = records.iter().find(|record| !self.all.iter().any(|regex| matches(regex, record)));
        if let Some(record) = stray.filter(|_| !self.all.is_empty()) {
            return wrong(format!("`{record}` of the {section} section matches none of what each record must be"));
        }
        let banned = self.none.iter().find_map(|regex| {
            let record = records.iter().find(|record| matches(regex, record))?;
            Some((regex, record))
        });
        match banned {
            Some((regex, record)) => wrong(format!("`{record}` of the {section} section matches `{regex}`")),
            None => Ok(()),
        }
    }
}

fn shown(records: &[String]) -> String {
    match records.len() {
        0 => "there is none".to_owned(),
        count => {
            let listed = records.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
            if count > MAX_SHOWN { format!("{listed} and {} more", count - MAX_SHOWN) } else { listed }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn answer() -> Answer {
        Answer {
            rcode: "NOERROR".into(),
            authoritative: true,
            authenticated: false,
            truncated: false,
            records: vec!["a.example. 60 IN A 192.0.2.1".into(), "a.example. 60 IN A 192.0.2.2".into()],
            authority: Vec::new(),
            additional: Vec::new(),
            serial: None,
        }
    }

    fn compile(text: &str, must: bool) -> Result<Expectations, SpecError> {
        Expectations::compile("dns.expect", &serde_json::from_str(text).unwrap(), must)
    }

    #[rstest]
    #[case("{}", None)]
    #[case(r#"{"rcode": ["nxdomain"]}"#, Some(Reason::Rcode))]
    #[case(r#"{"rcode": ["NXDOMAIN", "NOERROR"]}"#, None)]
    #[case(r#"{"authoritative": true}"#, None)]
    #[case(r#"{"authoritative": false}"#, Some(Reason::Rcode))]
    #[case(r#"{"authenticated": true}"#, Some(Reason::Rcode))]
    #[case(r#"{"answer": {"min": 3}}"#, Some(Reason::Records))]
    #[case(r#"{"answer": {"max": 1}}"#, Some(Reason::Records))]
    #[case(r#"{"answer": {"some": ["192\\.0\\.2\\.1$", "192\\.0\\.2\\.2$"]}}"#, None)]
    #[case(r#"{"answer": {"some": ["192\\.0\\.2\\.3$"]}}"#, Some(Reason::Records))]
    #[case(r#"{"answer": {"all": ["2\\.1$", "2\\.2$"]}}"#, None)]
    #[case(r#"{"answer": {"all": ["2\\.1$"]}}"#, Some(Reason::Records))]
    #[case(r#"{"answer": {"none": ["2\\.2$"]}}"#, Some(Reason::Records))]
    #[case(r#"{"answer": {"none": ["AAAA"]}}"#, None)]
    #[case(r#"{"authority": {"min": 1}}"#, Some(Reason::Records))]
    #[case(r#"{"additional": {"some": ["."]}}"#, Some(Reason::Records))]
    fn everything_given_must_hold(#[case] expect: &str, #[case] reason: Option<Reason>) {
        let judged = compile(expect, true).unwrap().judge(&answer());
        assert_eq!(judged.err().map(|failure| failure.reason), reason);
    }

    #[rstest]
    #[case::must(true, r"{}", "NOERROR", Some(Reason::Records))]
    #[case::should(false, r"{}", "NOERROR", None)]
    #[case::must_not_be_refused(true, r"{}", "REFUSED", Some(Reason::Rcode))]
    #[case::may_be_refused(false, r"{}", "REFUSED", None)]
    #[case::nothing_where_nothing_is_expected(true, r#"{"rcode": ["NXDOMAIN"]}"#, "NXDOMAIN", None)]
    #[case::none_allowed(true, r#"{"answer": {"max": 0}}"#, "NOERROR", None)]
    #[case::none_needed(true, r#"{"answer": {"min": 0}}"#, "NOERROR", None)]
    fn without_records_the_default_depends_on_who_asks(
        #[case] must: bool,
        #[case] expect: &str,
        #[case] rcode: &'static str,
        #[case] reason: Option<Reason>,
    ) {
        let answer = Answer { rcode: rcode.into(), records: Vec::new(), ..answer() };
        let judged = compile(expect, must).unwrap().judge(&answer);
        assert_eq!(judged.err().map(|failure| failure.reason), reason);
    }

    #[rstest]
    #[case(r#"{"rcode": ["NOERROR", "FINE"]}"#, "dns.expect.rcode[1]")]
    #[case(r#"{"answer": {"some": ["a", "("]}}"#, "dns.expect.answer.some[1]")]
    #[case(r#"{"authority": {"none": ["("]}}"#, "dns.expect.authority.none[0]")]
    #[case(r#"{"additional": {"min": 2, "max": 1}}"#, "dns.expect.additional.max")]
    fn what_makes_no_sense_names_its_field(#[case] expect: &str, #[case] field: &str) {
        assert_eq!(compile(expect, true).unwrap_err().field, field);
    }

    #[rstest]
    #[case(0, &[7, 7, 7], true)]
    #[case(0, &[7, 7, 8], false)]
    #[case(2, &[7, 8, 9], true)]
    #[case(1, &[7, 8, 9], false)]
    #[case(2, &[u32::MAX, 1], true)]
    #[case(0, &[], true)]
    fn serials_agree_within_their_lag(#[case] lag: u32, #[case] serials: &[u32], #[case] good: bool) {
        let expect = Expectations { lag, ..compile("{}", true).unwrap() };
        let serials: Vec<(String, u32)> = serials.iter().map(|serial| ("ns".to_owned(), *serial)).collect();
        assert_eq!(expect.agree(&serials).is_ok(), good);
    }

    proptest! {
        #[test]
        fn no_records_make_it_panic(records in proptest::collection::vec("\\PC{0,30}", 0..6), pattern in "[a-z0-9.*+?|^$]{1,8}") {
            let rules = DnsRecords { some: vec![pattern.clone()], all: vec![pattern.clone()], none: vec![pattern], ..DnsRecords::default() };
            if let Ok(rules) = Rules::compile("dns.expect.answer", Some(&rules), 0) {
                let _ = rules.judge("answer", &records, true);
            }
        }
    }
}
