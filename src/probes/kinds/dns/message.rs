//! Questions and answers as they travel: pure.

use std::borrow::Cow;
use std::fmt::Write as _;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// How large an answer may be over UDP: what passes every path without fragments (DNS flag day 2020).
const PAYLOAD: u16 = 1_232;
/// The length of a message's head.
const HEAD: usize = 12;

/// Response codes by their names in the registry of IANA.
const RCODES: &[(&str, u16)] = &[
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("DSOTYPENI", 11),
    ("BADVERS", 16),
    ("BADKEY", 17),
    ("BADTIME", 18),
    ("BADMODE", 19),
    ("BADNAME", 20),
    ("BADALG", 21),
    ("BADTRUNC", 22),
    ("BADCOOKIE", 23),
];
/// The code of an answer that is in order.
pub(super) const NOERROR: &str = "NOERROR";

/// A response code as it is written everywhere; `None` where a text is none.
pub(super) fn rcode(text: &str) -> Option<&'static str> {
    RCODES.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(text))
}

fn rcode_name(code: u16) -> Cow<'static, str> {
    let known = RCODES.iter().find(|(_, known)| *known == code);
    known.map_or_else(|| format!("RCODE{code}").into(), |(name, _)| (*name).into())
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: RecordType,
    pub(super) recursion: bool,
}

/// What a message that came back is.
#[derive(Debug)]
pub(super) enum Parsed {
    /// The answer to the question.
    Answer(Box<Answer>),
    /// Not an answer to it.
    Lie(&'static str),
    /// It has the question's number, and is no message.
    Broken(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) rcode: Cow<'static, str>,
    pub(super) authoritative: bool,
    pub(super) authenticated: bool,
    /// It did not fit into a datagram.
    pub(super) truncated: bool,
    /// The records of the three sections as lines.
    pub(super) records: Vec<String>,
    pub(super) authority: Vec<String>,
    pub(super) additional: Vec<String>,
    /// The zone and its serial, by the first SOA record of the answer, or else of the authority section.
    pub(super) serial: Option<(Name, u32)>,
}

impl Question {
    /// The question as it travels, with a number.
    pub(super) fn encode(&self, id: u16) -> Result<Vec<u8>, String> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        // Says that we understand the flag in the answer (RFC 6840 section 5.7).
        message.metadata.authentic_data = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
        message.to_vec().map_err(|error| error.to_string())
    }

    /// Reads what came back for the question with this number.
    pub(super) fn read(&self, id: u16, bytes: &[u8]) -> Parsed {
        let (Some(head), Some(flags)) = (bytes.get(..HEAD).and_then(|head| head.first_chunk::<2>()), bytes.get(2))
        else {
            return Parsed::Lie("it is too short for a message");
        };
        if u16::from_be_bytes(*head) != id {
            return Parsed::Lie("it has another number");
        }
        if flags & 0x80 == 0 {
            return Parsed::Lie("it is a question");
        }
        let message = match Message::from_vec(bytes) {
            Ok(message) => message,
            Err(error) => return Parsed::Broken(error.to_string()),
        };
        if !self.is_asked_in(&message) {
            return Parsed::Lie("it answers another question");
        }
        Parsed::Answer(Box::new(answer(&message)))
    }

    fn is_asked_in(&self, message: &Message) -> bool {
        match message.queries.as_slice() {
            [query] => {
                let same = query.name().is_same_as(&self.name);
                same && query.query_type() == self.kind && query.query_class() == DNSClass::IN
            }
            // Whoever refuses need not repeat what it has not read.
            [] => u16::from(message.metadata.response_code) != 0,
            _ => false,
        }
    }
}

/// Names compare without their case.
trait SameName {
    fn is_same_as(&self, other: &Self) -> bool;
}

impl SameName for Name {
    fn is_same_as(&self, other: &Self) -> bool {
        self.to_lowercase() == other.to_lowercase()
    }
}

fn answer(message: &Message) -> Answer {
    let lines = |records: &[Record]| records.iter().map(line).collect();
    let soa = |records: &[Record]| {
        records.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some((record.name.clone(), soa.serial)),
            _ => None,
        })
    };
    Answer {
        rcode: rcode_name(message.metadata.response_code.into()),
        authoritative: message.metadata.authoritative,
        authenticated: message.metadata.authentic_data,
        truncated: message.metadata.truncation,
        records: lines(&message.answers),
        authority: lines(&message.authorities),
        additional: lines(&message.additionals),
        serial: soa(&message.answers).or_else(|| soa(&message.authorities)),
    }
}

/// A record as a line of a zone file with single spaces.
fn line(record: &Record) -> String {
    let kind = match record.record_type() {
        RecordType::Unknown(code) => format!("TYPE{code}"),
        known => known.to_string(),
    };
    let mut line = format!("{} {} {} {kind} ", record.name, record.ttl, record.dns_class);
    match &record.data {
        RData::TXT(text) => {
            let texts: Vec<String> = text.txt_data.iter().map(|text| quoted(text)).collect();
            line.push_str(&texts.join(" "));
        }
        // As RFC 3597 has it.
        RData::Unknown { rdata, .. } => {
            let _ = write!(line, "\\# {} ", rdata.anything.len());
            for byte in &rdata.anything {
                let _ = write!(line, "{byte:02X}");
            }
        }
        // Some data has no text, and says so by an error.
        data => {
            let mut text = String::new();
            if write!(text, "{data}").is_ok() {
                line.push_str(&single_spaced(&text));
            }
        }
    }
    line.trim_end().to_owned()
}

/// A character string of a zone file: what is not printable is written as `\DDD`.
fn quoted(text: &[u8]) -> String {
    let mut shown = String::from("\"");
    for byte in text {
        match byte {
            b'"' | b'\\' => {
                shown.push('\\');
                shown.push(char::from(*byte));
            }
            b' '..=b'~' => shown.push(char::from(*byte)),
            other => {
                let _ = write!(shown, "\\{other:03}");
            }
        }
    }
    shown.push('"');
    shown
}

/// One space for many, but within quotes.
fn single_spaced(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        within ^= c == '"';
        if within || !c.is_whitespace() {
            shown.push(c);
        } else if !shown.ends_with(' ') {
            shown.push(' ');
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{A, MX, SOA, TXT};
    use proptest::prelude::*;
    use rstest::rstest;

    fn question() -> Question {
        Question { name: Name::from_ascii("shop.example.").unwrap(), kind: RecordType::A, recursion: true }
    }

    /// An answer with one address, as bytes, after `change`.
    fn reply(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::response(7, OpCode::Query);
        message.add_query(Query::query(question().name, RecordType::A));
        message.add_answer(Record::from_rdata(question().name, 300, RData::A(A::new(192, 0, 2, 1))));
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn a_question_travels_with_its_flags() {
        let message = Message::from_vec(&question().encode(7).unwrap()).unwrap();
        assert_eq!(
            (message.metadata.id, message.metadata.recursion_desired, message.max_payload()),
            (7, true, PAYLOAD)
        );
        let silent = Question { recursion: false, ..question() }.encode(7).unwrap();
        assert!(!Message::from_vec(&silent).unwrap().metadata.recursion_desired);
    }

    #[test]
    fn an_answer_is_read_with_its_records_as_lines() {
        let bytes = reply(|message| {
            message.metadata.authoritative = true;
            let zone = Name::from_ascii("example.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 42, 1, 2, 3, 4);
            message.add_authority(Record::from_rdata(zone.clone(), 60, RData::SOA(soa)));
            message.add_additional(Record::from_rdata(zone.clone(), 60, RData::MX(MX::new(10, zone))));
        });
        let Parsed::Answer(answer) = question().read(7, &bytes) else { panic!() };
        assert_eq!(answer.records, ["shop.example. 300 IN A 192.0.2.1"]);
        assert_eq!(answer.authority, ["example. 60 IN SOA example. example. 42 1 2 3 4"]);
        assert_eq!(answer.additional, ["example. 60 IN MX 10 example."]);
        assert_eq!(
            (answer.rcode.as_ref(), answer.authoritative, answer.serial.as_ref().map(|soa| soa.1)),
            ("NOERROR", true, Some(42))
        );
    }

    #[test]
    fn texts_are_quoted_and_unknown_types_are_written_as_numbers() {
        let text = RData::TXT(TXT::from_bytes(vec![b"v=spf1  \"-all\"", b"\xff"]));
        assert_eq!(
            line(&Record::from_rdata(question().name, 1, text)),
            r#"shop.example. 1 IN TXT "v=spf1  \"-all\"" "\255""#
        );
        let unknown = RData::Unknown {
            code: RecordType::Unknown(4_711),
            rdata: hickory_proto::rr::rdata::NULL::with(vec![1, 0xab]),
        };
        assert_eq!(line(&Record::from_rdata(question().name, 1, unknown)), r"shop.example. 1 IN TYPE4711 \# 2 01AB");
    }

    #[rstest]
    #[case::number(reply(|message| message.metadata.id = 8), "another number")]
    #[case::question(reply(|message| message.metadata.message_type = MessageType::Query), "is a question")]
    #[case::name(reply(|message| message.queries[0] = Query::query(Name::from_ascii("evil.example.").unwrap(), RecordType::A)), "another question")]
    #[case::kind(reply(|message| message.queries[0] = Query::query(question().name, RecordType::AAAA)), "another question")]
    #[case::nothing_asked(reply(|message| message.queries.clear()), "another question")]
    #[case::short(vec![0, 7, 0x80], "too short")]
    fn what_answers_another_question_is_a_lie(#[case] bytes: Vec<u8>, #[case] why: &str) {
        match question().read(7, &bytes) {
            Parsed::Lie(found) => assert!(found.contains(why), "{found}"),
            other => panic!("{other:?}"),
        }
    }

    /// A head of an answer with these counts, and a question for the name that follows.
    fn head(counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x80, 0];
        bytes.extend(counts.iter().flat_map(|count| [0, *count]));
        bytes.extend(rest);
        bytes
    }

    #[rstest]
    #[case::pointer_to_itself(head([1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01"))]
    #[case::pointers_in_a_ring(head([1, 0, 0, 0], b"\xc0\x0e\xc0\x0c\0\x01\0\x01"))]
    #[case::pointer_ahead(head([1, 0, 0, 0], b"\x04shop\xc0\xff\0\x01\0\x01"))]
    #[case::more_answers_than_there_are(head([1, 200, 0, 0], b"\x04shop\x07example\0\0\x01\0\x01"))]
    #[case::half_a_record(head([1, 1, 0, 0], b"\x04shop\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x7f"))]
    #[case::length_beyond_the_end(head([1, 1, 0, 0], b"\x04shop\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x01\xff\xff\x7f\0\0\x01"))]
    fn a_message_that_loops_or_lies_about_its_counts_is_broken(#[case] bytes: Vec<u8>) {
        assert!(matches!(question().read(7, &bytes), Parsed::Broken(_)), "{:?}", question().read(7, &bytes));
    }

    #[test]
    fn a_refusal_need_not_repeat_the_question() {
        let bytes = reply(|message| {
            message.queries.clear();
            message.answers.clear();
            message.metadata.response_code = hickory_proto::op::ResponseCode::Refused;
        });
        assert!(matches!(question().read(7, &bytes), Parsed::Answer(answer) if answer.rcode == "REFUSED"));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            shaped in any::<bool>(),
            place in 0usize..60,
            byte in any::<u8>(),
        ) {
            if shaped {
                // A good answer with one byte changed reaches deeper than noise.
                bytes = reply(|_| ());
                if let Some(found) = bytes.get_mut(place) {
                    *found = byte;
                }
            }
            let _ = question().read(7, &bytes);
            if let Some(head) = bytes.get_mut(..3) {
                head.copy_from_slice(&[0, 7, 0x80]);
            }
            let _ = question().read(7, &bytes);
        }
    }
}
