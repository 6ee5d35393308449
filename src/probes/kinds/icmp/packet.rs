//! Echo requests and answers as bytes (RFC 792, RFC 4443): pure.

/// The bytes in front of what an echo carries: type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// The least header of IPv4.
const IPV4_HEADER: usize = 20;

/// An echo, asked or answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Echo<'a> {
    pub(super) id: u16,
    pub(super) sequence: u16,
    pub(super) payload: &'a [u8],
}

impl Echo<'_> {
    /// The request of IPv4, or of IPv6, whose checksum is the system's to make: addresses are in it.
    pub(super) fn request(&self, v6: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&[if v6 { 128 } else { 8 }, 0, 0, 0]);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        if !v6 {
            let sum = checksum(&bytes).to_be_bytes();
            for (place, byte) in bytes.iter_mut().skip(2).zip(sum) {
                *place = byte;
            }
        }
        bytes
    }
}

/// Reads an answer; `None` where the packet is something else.
pub(super) fn answer(bytes: &[u8], v6: bool) -> Option<Echo<'_>> {
    let ([kind, code, _, _, id_high, id_low, high, low], payload) = bytes.split_first_chunk::<HEADER>()?;
    let wanted = if v6 { 129 } else { 0 };
    (*kind == wanted && *code == 0).then(|| Echo {
        id: u16::from_be_bytes([*id_high, *id_low]),
        sequence: u16::from_be_bytes([*high, *low]),
        payload,
    })
}

/// What a packet of IPv4 carries; a raw socket gives it with its header.
pub(super) fn without_ipv4(bytes: &[u8]) -> Option<&[u8]> {
    let first = bytes.first()?;
    let length = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && length >= IPV4_HEADER).then(|| bytes.get(length..)).flatten()
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or_default();
        let low = pair.get(1).copied().unwrap_or_default();
        sum += u32::from(u16::from_be_bytes([high, low]));
        // Carried at once, so that no length overflows.
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_as_the_standard_has_it() {
        let echo = Echo { id: 0x1234, sequence: 1, payload: b"abc" };
        // Computed by hand: 0800 + 1234 + 0001 + 6162 + 6300 = de97.
        assert_eq!(echo.request(false), b"\x08\0\x21\x68\x12\x34\0\x01abc");
        assert_eq!(echo.request(true), b"\x80\0\0\0\x12\x34\0\x01abc");
    }

    #[test]
    fn a_header_of_ipv4_is_taken_off_with_its_options() {
        let plain: Vec<u8> = [&[0x45][..], &[0; 19], b"x"].concat();
        let options: Vec<u8> = [&[0x46][..], &[0; 23], b"x"].concat();
        assert_eq!((without_ipv4(&plain), without_ipv4(&options)), (Some(&b"x"[..]), Some(&b"x"[..])));
        assert_eq!((without_ipv4(&[0x44; 40]), without_ipv4(&[0x65; 40]), without_ipv4(b"")), (None, None, None));
    }

    proptest! {
        #[test]
        fn an_answer_reads_back(
            id in any::<u16>(), sequence in any::<u16>(), v6 in any::<bool>(),
            payload in proptest::collection::vec(any::<u8>(), 0..100)
        ) {
            let echo = Echo { id, sequence, payload: &payload };
            let mut bytes = echo.request(v6);
            prop_assert_eq!(answer(&bytes, v6), None);
            bytes[0] = if v6 { 129 } else { 0 };
            prop_assert_eq!(answer(&bytes, v6), Some(echo));
        }

        #[test]
        fn the_sum_over_a_whole_request_is_nothing(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = Echo { id: 7, sequence: 9, payload: &payload }.request(false);
            prop_assert_eq!(checksum(&bytes), 0);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = without_ipv4(&bytes).and_then(|rest| answer(rest, false));
            let _ = answer(&bytes, true);
        }
    }
}
