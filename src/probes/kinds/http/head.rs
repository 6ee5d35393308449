//! Heads of HTTP/1 answers: read from bytes as they come, pure.

use std::mem::MaybeUninit;

/// The largest head of an answer, interim ones not counted: servers refuse requests with more, and
/// no answer needs as much.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The most headers of an answer.
pub(super) const MAX_HEADERS: usize = 200;
/// The most interim answers (1xx) before the answer itself: a server has no use for more.
const MAX_INTERIM: u32 = 16;
/// How every head begins.
const BEGINNING: &[u8] = b"HTTP/1.";

/// Why there is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// It does not begin like one.
    #[error("this is no HTTP/1 answer")]
    NotHttp,
    /// It is too large.
    #[error("the head of the answer is larger than {MAX_HEAD} bytes")]
    TooLarge,
    /// It has too many headers.
    #[error("the answer has more than {MAX_HEADERS} headers")]
    TooMany,
    /// It breaks the grammar.
    #[error("the head of the answer is broken: {0}")]
    Broken(String),
    /// There is no end of interim answers.
    #[error("more than {MAX_INTERIM} interim answers (1xx)")]
    Interim,
}

/// The version of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// It says so itself, chunk by chunk.
    Chunked,
    /// Up to the end of the connection.
    Close,
}

/// A whole head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) framing: Framing,
    /// The length that was announced, where one was.
    pub(super) length: Option<u64>,
}

/// The headers of an answer, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Headers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a header stands in the bytes: the beginnings and ends of its name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

impl Headers {
    /// Headers from names and values.
    pub(super) fn collect<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut headers = Self::default();
        for (name, value) in fields {
            let mut put = |text: &[u8]| {
                let start = headers.bytes.len();
                headers.bytes.extend_from_slice(text);
                (small(start), small(headers.bytes.len()))
            };
            let field = Field { name: put(name), value: put(value) };
            headers.fields.push(field);
        }
        headers
    }

    /// All of them: name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.cut(field.name), self.cut(field.value)))
    }

    /// The values of one name, whatever its case.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The first value of one name, where it is text.
    pub(super) fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next().and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
    }

    fn cut(&self, (from, to): (u32, u32)) -> &[u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Reads a head from bytes as they come.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// What has come and is not read; whoever reads puts it here.
    pub(super) seen: Vec<u8>,
    /// Up to where there is no end of a head.
    scanned: usize,
    interim: u32,
}

impl HeadReader {
    /// The head and what came after it, once it is whole; interim answers are left out. A `bodiless`
    /// answer has no body whatever its headers say.
    ///
    /// # Errors
    /// Any of [`HeadError`], as soon as it is known.
    pub(super) fn next(&mut self, bodiless: bool) -> Result<Option<(Head, Vec<u8>)>, HeadError> {
        loop {
            self.check_beginning()?;
            let Some(end) = end_of_head(&self.seen, self.scanned) else {
                self.scanned = self.seen.len().saturating_sub(3);
                return if self.seen.len() > MAX_HEAD { Err(HeadError::TooLarge) } else { Ok(None) };
            };
            if end > MAX_HEAD {
                return Err(HeadError::TooLarge);
            }
            let Some((length, mut head)) = parse(self.seen.get(..end).unwrap_or_default(), bodiless)? else {
                // Empty lines before the head.
                self.scanned = end;
                continue;
            };
            let rest = self.seen.split_off(length);
            let bytes = std::mem::replace(&mut self.seen, rest);
            self.scanned = 0;
            if (100..200).contains(&head.status) && head.status != 101 {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(HeadError::Interim);
                }
                continue;
            }
            head.headers.bytes = bytes;
            return Ok(Some((head, std::mem::take(&mut self.seen))));
        }
    }

    /// What is no HTTP is known by its first bytes: nobody waits for its end.
    fn check_beginning(&self) -> Result<(), HeadError> {
        let blank = self.seen.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let begun = self.seen.iter().skip(blank);
        if begun.zip(BEGINNING).all(|(found, wanted)| found == wanted) { Ok(()) } else { Err(HeadError::NotHttp) }
    }
}

/// The end of the first empty line behind `from`.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let mut place = from;
    loop {
        place += bytes.get(place..)?.iter().position(|byte| *byte == b'\n')? + 1;
        match bytes.get(place..)? {
            [b'\n', ..] => return Some(place + 1),
            [b'\r', b'\n', ..] => return Some(place + 2),
            _ => {}
        }
    }
}

/// Reads a head that has an end: its length and what stands in it, its headers' bytes left out;
/// `None` where there are but empty lines.
fn parse(bytes: &[u8], bodiless: bool) -> Result<Option<(usize, Head)>, HeadError> {
    let mut space = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut space);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooMany),
        Err(error) => return Err(HeadError::Broken(error.to_string())),
    };
    let status = response.code.unwrap_or_default();
    let version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let start = bytes.as_ptr().addr();
    let place = |text: &[u8]| {
        let from = text.as_ptr().addr().saturating_sub(start);
        (small(from), small(from + text.len()))
    };
    let fields = response.headers.iter();
    let fields = fields.map(|field| Field { name: place(field.name.as_bytes()), value: place(field.value) }).collect();
    let (framing, length_told) = framing(response.headers)?;
    let bodiless = bodiless || matches!(status, 100..=199 | 204 | 304);
    let head = Head {
        version,
        status,
        headers: Headers { bytes: Vec::new(), fields },
        framing: if bodiless { Framing::Length(0) } else { framing },
        length: length_told,
    };
    Ok(Some((length, head)))
}

/// How the body ends, and the length that is announced (RFC 9112, 6.3).
fn framing(headers: &[httparse::Header<'_>]) -> Result<(Framing, Option<u64>), HeadError> {
    let broken = |why: &str| Err(HeadError::Broken(why.to_owned()));
    let mut chunked = false;
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            for coding in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if chunked || !(coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity")) {
                    return broken("a transfer coding that was not asked for");
                }
                chunked = coding.eq_ignore_ascii_case(b"chunked");
            }
        } else if header.name.eq_ignore_ascii_case("content-length") {
            for text in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
                let found: Option<u64> = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|t| t.parse().ok());
                match (found, length) {
                    (None, _) => return broken("Content-Length is no number"),
                    (Some(found), Some(before)) if found != before => return broken("two different Content-Length"),
                    (found, _) => length = found,
                }
            }
        }
    }
    let framing = match length {
        _ if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    Ok((framing, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn read(pieces: &[&[u8]]) -> Result<Option<(Head, Vec<u8>)>, HeadError> {
        let mut reader = HeadReader::default();
        for piece in pieces {
            reader.seen.extend_from_slice(piece);
            if let Some(found) = reader.next(false)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_head_has_its_status_its_headers_and_what_follows() {
        let (head, rest) =
            read(&[b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\na:  2 \r\n\r\nok"]).unwrap().unwrap();
        assert_eq!((head.version, head.status, head.framing), (Version::Http11, 200, Framing::Length(2)));
        assert_eq!(head.headers.all("A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!((head.headers.text("content-length"), head.headers.text("b")), (Some("2"), None));
        assert_eq!(rest, b"ok");
    }

    #[rstest]
    #[case("", Framing::Close)]
    #[case("Content-Length: 5, 5\r\n", Framing::Length(5))]
    #[case("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Framing::Chunked)]
    #[case("Transfer-Encoding: identity\r\n", Framing::Close)]
    fn the_headers_say_where_the_body_ends(#[case] headers: &str, #[case] framing: Framing) {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        assert_eq!(read(&[head.as_bytes()]).unwrap().unwrap().0.framing, framing);
    }

    #[rstest]
    #[case("Content-Length: -1", "Content-Length is no number")]
    #[case("Content-Length: +1", "Content-Length is no number")]
    #[case("Content-Length: 99999999999999999999", "Content-Length is no number")]
    #[case("Content-Length: 5\r\nContent-Length: 6", "two different Content-Length")]
    #[case("Transfer-Encoding: gzip, chunked", "a transfer coding that was not asked for")]
    #[case("Transfer-Encoding: chunked, gzip", "a transfer coding that was not asked for")]
    #[case("no colon", "invalid header name")]
    fn a_broken_head_says_what_is_broken(#[case] line: &str, #[case] why: &str) {
        let head = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        assert_eq!(read(&[head.as_bytes()]).unwrap_err(), HeadError::Broken(why.to_owned()));
    }

    #[rstest]
    #[case(b"SSH-2.0-OpenSSH")]
    #[case(b"<html>")]
    #[case(b"HTTQ")]
    #[case(b"\x15\x03\x01\x00\x02\x02\x46")]
    #[case(b"HTTP/2.0 200 OK\r\n\r\n")]
    fn what_is_no_http_is_known_at_once(#[case] bytes: &[u8]) {
        assert_eq!(read(&[bytes]).unwrap_err(), HeadError::NotHttp);
    }

    #[test]
    fn interim_answers_are_left_out_up_to_a_limit() {
        let interim = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".as_slice();
        let last = b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n".as_slice();
        let (head, _) = read(&[interim, interim, last]).unwrap().unwrap();
        assert_eq!((head.status, head.framing, head.length), (204, Framing::Length(0), Some(7)));
        assert_eq!(read(&[interim; 17]).unwrap_err(), HeadError::Interim);
    }

    #[test]
    fn a_head_without_end_or_with_too_many_headers_is_too_large() {
        let line = [b'x'; 1024];
        let mut pieces: Vec<&[u8]> = vec![b"HTTP/1.1 200 OK\r\na: "];
        pieces.extend([line.as_slice(); 65]);
        assert_eq!(read(&pieces).unwrap_err(), HeadError::TooLarge);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(read(&[many.as_bytes()]).unwrap_err(), HeadError::TooMany);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_take_more_than_its_limit(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[&bytes]);
            let headed = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
            if let Ok(Some((head, _))) = read(&[&headed]) {
                prop_assert!(head.headers.iter().all(|(name, _)| !name.is_empty()));
            }
        }

        #[test]
        fn it_does_not_matter_where_it_is_cut(
            headers in proptest::collection::vec(("[a-z]{1,8}", "[ -~]{0,12}"), 0..6),
            body in proptest::collection::vec(any::<u8>(), 0..20),
            cuts in proptest::collection::vec(1_usize..9, 1..60),
        ) {
            let mut bytes = b"\r\nHTTP/1.1 200 OK\r\n".to_vec();
            for (name, value) in &headers {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&body);
            let whole = read(&[&bytes]);
            let mut reader = HeadReader::default();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.iter().cycle();
            let mut found = Ok(None);
            while !rest.is_empty() && matches!(found, Ok(None)) {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                reader.seen.extend_from_slice(piece);
                rest = after;
                found = reader.next(false);
            }
            let joined = found.map(|found| found.map(|(head, mut body)| { body.extend_from_slice(rest); (head, body) }));
            prop_assert_eq!(joined, whole);
        }
    }
}
