//! The kind `dns`: a question, and what a server answers.

mod exchange;
mod expect;
mod message;

use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};
use serde_json::{Map, Value};

use self::exchange::Server;
use self::expect::Expectations;
use self::message::{Answer, Question};
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{DnsExpect, DnsProbe, ProbeSpec};
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::Trace;

/// The most records that are kept as facts.
const MAX_RECORDS: usize = 32;
/// The longest of them that is kept whole; a key or a text may be longer.
const MAX_RECORD: usize = 300;
/// Questions that have no single answer, or are none.
const NO_QUESTIONS: &[RecordType] =
    &[RecordType::AXFR, RecordType::IXFR, RecordType::OPT, RecordType::TSIG, RecordType::ZERO];

struct Dns {
    server: Server,
    question: Question,
    expect: List,
    warn: Option<List>,
}

/// What must or should be, and the servers that are compared for it.
struct List {
    expectations: Expectations,
    others: Vec<Server>,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.dns.as_ref().map(|dns| prepare(dns, tools))
}

fn prepare(spec: &DnsProbe, tools: &Tools) -> Result<Ready, SpecError> {
    let transport = spec.transport.unwrap_or_default();
    let server = |field: &str, text: &str| Server::compile(field, text, transport, spec.tls.as_ref(), &tools.outbound);
    let list = |field: &str, expect: &DnsExpect, must: bool| {
        let expectations = Expectations::compile(field, expect, must)?;
        let others = expect.same_serial.iter().enumerate();
        let others = others.map(|(place, text)| server(&format!("{field}.sameSerial[{place}]"), text));
        Ok(List { expectations, others: others.collect::<Result<_, SpecError>>()? })
    };
    let dns = Arc::new(Dns {
        server: server("dns.server", &spec.server)?,
        question: question(spec)?,
        expect: list("dns.expect", &spec.expect.clone().unwrap_or_default(), true)?,
        warn: spec.warn.as_ref().map(|warn| list("dns.warn", warn, false)).transpose()?,
    });
    let host = dns.server.place.host.clone();
    let prober: Prober = Arc::new(move |trace| {
        let dns = Arc::clone(&dns);
        Box::pin(async move { dns.round(trace).await })
    });
    Ok(Ready { prober, host })
}

fn question(spec: &DnsProbe) -> Result<Question, SpecError> {
    let name = Name::from_str_relaxed(&spec.name).and_then(|name| {
        let mut name = if name.is_root() { name } else { name.append_domain(&Name::root())? };
        name.set_fqdn(true);
        Ok(name)
    });
    let name = name.map_err(|error| SpecError::new("dns.name", format!("`{}` is no name: {error}", spec.name)))?;
    let text = spec.record_type.as_deref().unwrap_or("A").to_ascii_uppercase();
    let numbered = text.strip_prefix("TYPE").and_then(|number| number.parse::<u16>().ok()).map(RecordType::from);
    let kind = RecordType::from_str(&text).ok().or(numbered).filter(|kind| !NO_QUESTIONS.contains(kind));
    let kind = kind.ok_or_else(|| {
        SpecError::new("dns.type", format!("`{text}` is no type of record that can be asked for, such as A or TYPE65"))
    })?;
    Ok(Question { name, kind, recursion: spec.recursion.unwrap_or(true) })
}

impl Dns {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let answer = self.server.ask(trace, &self.question).await?;
        note(trace, &answer);
        self.expect.expectations.judge(&answer)?;
        let mut own = None;
        self.agree(trace, &self.expect, &answer, &mut own).await?;
        match &self.warn {
            None => Ok(()),
            Some(warn) => {
                warn.expectations.judge(&answer).map_err(Failure::degraded)?;
                self.agree(trace, warn, &answer, &mut own).await.map_err(Failure::degraded)
            }
        }
    }

    /// Compares the serial of the zone with that of other servers; `own` is the server's own, once
    /// it is known.
    async fn agree(
        &self,
        trace: &mut Trace,
        list: &List,
        answer: &Answer,
        own: &mut Option<(Name, u32)>,
    ) -> Result<(), Failure> {
        if list.others.is_empty() {
            return Ok(());
        }
        let address = trace.seen("address").cloned();
        let (zone, serial) = match own.clone().or_else(|| answer.serial.clone()) {
            Some(known) => known,
            None => self.serial(trace, &self.server, &self.question.name).await?,
        };
        *own = Some((zone.clone(), serial));
        let mut serials = vec![(self.server.place.to_string(), serial)];
        for other in &list.others {
            serials.push((other.place.to_string(), self.serial(trace, other, &zone).await?.1));
        }
        // The address is that of the server that is probed, and not of the last one that was compared.
        if let Some(address) = address {
            trace.fact("address", address);
        }
        trace.fact("serial", serial);
        let shown: Map<String, Value> = serials.iter().map(|(name, serial)| (name.clone(), (*serial).into())).collect();
        trace.fact("serials", shown);
        list.expectations.agree(&serials)
    }

    /// The zone of a name and its serial, as a server has them.
    async fn serial(&self, trace: &mut Trace, server: &Server, name: &Name) -> Result<(Name, u32), Failure> {
        let question = Question { name: name.clone(), kind: RecordType::SOA, recursion: self.question.recursion };
        let place = &server.place;
        let answer = server.ask(trace, &question).await.map_err(|failure| {
            let message = format!("the serial of {place}: {}", failure.message);
            Failure { message, ..failure }
        })?;
        answer.serial.ok_or_else(|| {
            let message = format!("{place} answers {} and has no serial of {name}", answer.rcode);
            Failure::new(Reason::Serial, message)
        })
    }
}

fn note(trace: &mut Trace, answer: &Answer) {
    trace.fact("rcode", answer.rcode.as_ref());
    trace.fact("authoritative", answer.authoritative);
    trace.fact("authenticated", answer.authenticated);
    trace.fact("truncated", answer.truncated);
    trace.fact("answers", answer.records.len());
    trace.fact("authorities", answer.authority.len());
    trace.fact("additionals", answer.additional.len());
    if let Some((_, serial)) = &answer.serial {
        trace.fact("serial", *serial);
    }
    let records = answer.records.iter().take(MAX_RECORDS);
    let records: Vec<Value> =
        records.map(|record| record.chars().take(MAX_RECORD).collect::<String>().into()).collect();
    trace.fact("records", records);
    let counts = (answer.records.len(), answer.authority.len(), answer.additional.len());
    trace.log(format!(
        "answered {}: {} records, {} of authority, {} beside",
        answer.rcode, counts.0, counts.1, counts.2
    ));
}
