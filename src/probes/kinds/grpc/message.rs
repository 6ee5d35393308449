//! The two messages of the health service, as bytes: pure.
//!
//! `HealthCheckRequest` has the service's name as field 1, `HealthCheckResponse` the status as
//! field 1 (grpc/health/v1/health.proto). Each travels behind a byte that says whether it is
//! compressed, and four with its length.

/// The bytes in front of a message.
const PREFIX: usize = 5;
/// Field 1 as text.
const SERVICE: u8 = 1 << 3 | 2;
/// The most bytes of a number in a message (64 bits, seven in each byte).
const MAX_VARINT: usize = 10;

/// What the health service says of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
    /// A status that has no name yet.
    Other(i32),
}

impl Health {
    const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Unknown,
            1 => Self::Serving,
            2 => Self::NotServing,
            3 => Self::ServiceUnknown,
            other => Self::Other(other),
        }
    }

    /// The name as the protocol has it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Unknown => "UNKNOWN".to_owned(),
            Self::Serving => "SERVING".to_owned(),
            Self::NotServing => "NOT_SERVING".to_owned(),
            Self::ServiceUnknown => "SERVICE_UNKNOWN".to_owned(),
            Self::Other(number) => format!("status {number}"),
        }
    }
}

/// Asks for the health of a service; the empty name stands for the whole server.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + MAX_VARINT);
    if !service.is_empty() {
        message.push(SERVICE);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = Vec::with_capacity(message.len() + PREFIX);
    framed.push(0);
    // A spec's names are a few hundred bytes at most.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// Reads what a call answered: exactly one message.
///
/// # Errors
/// It is none, with what is wrong with it.
pub(super) fn answer(bytes: &[u8]) -> Result<Health, String> {
    let Some(([compressed, length @ ..], message)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(format!("{} bytes are no message", bytes.len()));
    };
    if *compressed != 0 {
        return Err("the message is compressed, though nothing was offered".to_owned());
    }
    let length = u32::from_be_bytes(*length);
    if u32::try_from(message.len()) != Ok(length) {
        return Err(format!("a message of {length} bytes is announced, and {} came", message.len()));
    }
    let mut rest = message;
    // Absent means zero, and of a field that comes twice the last one counts.
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (0, _) => return Err("a field has the number 0".to_owned()),
            (1, 0) => status = varint(&mut rest)?,
            (1, other) => return Err(format!("the status has wire type {other}")),
            (_, kind) => skip(&mut rest, kind)?,
        }
    }
    // An enumeration is a number of 32 bits; what is beyond is cut, as the encoding has it.
    let [a, b, c, d, ..] = status.to_le_bytes();
    Ok(Health::from_number(i32::from_le_bytes([a, b, c, d])))
}

fn skip(rest: &mut &[u8], kind: u64) -> Result<(), String> {
    let length = match kind {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).unwrap_or(usize::MAX),
        5 => 4,
        other => return Err(format!("a field has wire type {other}")),
    };
    *rest = rest.get(length..).ok_or("a field is longer than its message")?;
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for index in 0..MAX_VARINT {
        let (byte, after) = rest.split_first().ok_or("a number breaks off")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number does not end".to_owned())
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(message);
        bytes
    }

    #[rstest]
    #[case("", b"\0\0\0\0\0")]
    #[case("shop", b"\0\0\0\0\x06\x0a\x04shop")]
    fn a_request_has_the_name_of_the_service(#[case] service: &str, #[case] bytes: &[u8]) {
        assert_eq!(request(service), bytes);
    }

    #[rstest]
    #[case(b"", "UNKNOWN")]
    #[case(b"\x08\x01", "SERVING")]
    #[case(b"\x08\x02", "NOT_SERVING")]
    #[case(b"\x08\x03", "SERVICE_UNKNOWN")]
    #[case(b"\x08\x63", "status 99")]
    #[case(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "status -1")]
    #[case::the_last_one_counts(b"\x08\x02\x08\x01", "SERVING")]
    #[case::others_are_left_out(b"\x12\x01x\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x28\x07\x08\x01", "SERVING")]
    fn an_answer_has_the_status(#[case] message: &[u8], #[case] name: &str) {
        assert_eq!(answer(&framed(message)).unwrap().name(), name);
    }

    #[rstest]
    #[case::nothing(b"", "0 bytes")]
    #[case::compressed(b"\x01\0\0\0\0", "compressed")]
    #[case::short(b"\0\0\0\0\x02\x08", "2 bytes is announced, and 1 came")]
    #[case::two_messages(b"\0\0\0\0\0\0\0\0\0\0", "0 bytes is announced, and 5 came")]
    #[case::text_for_a_status(b"\0\0\0\0\x02\x0a\0", "wire type 2")]
    #[case::a_group(b"\0\0\0\0\x01\x13", "wire type 3")]
    #[case::field_zero(b"\0\0\0\0\x01\0", "number 0")]
    #[case::beyond_its_end(b"\0\0\0\0\x02\x12\x05", "longer than its message")]
    #[case::a_number_that_breaks_off(b"\0\0\0\0\x02\x08\x80", "breaks off")]
    #[case::a_number_without_end(b"\0\0\0\0\x0c\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "does not end")]
    fn what_is_no_answer_is_told(#[case] bytes: &[u8], #[case] why: &str) {
        let error = answer(bytes).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&bytes);
            let _ = answer(&framed(&bytes));
        }

        #[test]
        fn every_number_reads_back(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(varint(&mut rest), Ok(value));
            prop_assert!(rest.is_empty() && bytes.len() <= MAX_VARINT);
        }

        #[test]
        fn a_request_is_framed_by_its_length(service in "\\PC{0,253}") {
            let bytes = request(&service);
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
            prop_assert_eq!(length as usize, bytes.len() - PREFIX);
            prop_assert!(bytes.ends_with(service.as_bytes()));
        }
    }
}
