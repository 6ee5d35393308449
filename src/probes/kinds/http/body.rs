//! Bodies of HTTP/1 answers: decoded from bytes as they come, pure.

use super::head::Framing;

/// How much of a body is read and kept. What is longer cannot be judged by its content.
pub(super) const MAX_BODY: usize = 1 << 20;
/// How much of it is kept where nobody looks at its content: what may be shown of it, with room for
/// the longest secret in that.
pub(super) const MAX_EXCERPT: usize = 32 << 10;
/// The longest line of a chunk, its extensions included: nobody uses them.
const MAX_CHUNK_LINE: usize = 4 * 1024;
/// The most bytes of trailers.
const MAX_TRAILERS: usize = 64 * 1024;

/// What is kept of a body, and how much there was.
#[derive(Debug)]
pub(super) struct Sink {
    /// The beginning.
    pub(super) kept: Vec<u8>,
    /// How many bytes came.
    pub(super) received: u64,
    wants: Wants,
}

/// How much of a body matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wants {
    /// Its content matters up to so many bytes.
    pub(super) content: usize,
    /// Its length matters up to so many bytes, and at least up to [`MAX_BODY`].
    pub(super) length: u64,
}

impl Wants {
    /// What is wanted together with others.
    pub(super) fn and(self, other: Self) -> Self {
        Self { content: self.content.max(other.content), length: self.length.max(other.length) }
    }
}

impl Sink {
    /// Takes a body.
    pub(super) const fn new(wants: Wants) -> Self {
        Self { kept: Vec::new(), received: 0, wants }
    }

    /// Takes some.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.received = self.received.saturating_add(data.len() as u64);
        let room = self.wants.content.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(data.get(..room).unwrap_or(data));
    }

    /// Takes the whole body, where nothing has come yet and all of it matters; otherwise leaves it.
    fn takes(&mut self, data: &mut Vec<u8>) -> bool {
        if self.received > 0 || data.len() > self.wants.content {
            return false;
        }
        self.received = data.len() as u64;
        self.kept = std::mem::take(data);
        true
    }

    /// Whether more than matters has come.
    pub(super) const fn enough(&self) -> bool {
        self.received > self.wants.length && self.received > MAX_BODY as u64
    }
}

/// Why a body is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// The chunks break their grammar.
    #[error("the chunks of the body are broken: {0}")]
    Chunks(&'static str),
    /// The connection ended first.
    #[error("the connection ended {0} bytes before the end of the body")]
    Short(u64),
    /// The connection ended between chunks.
    #[error("the connection ended before the last chunk of the body")]
    ShortChunks,
}

/// Decodes a body.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunked),
    Close,
}

impl Decoder {
    pub(super) const fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::Size { value: 0, digits: 0 }),
            Framing::Close => Self::Close,
        }
    }

    /// Decodes some; what stands behind the body is left alone.
    ///
    /// # Errors
    /// The chunks are broken.
    pub(super) fn feed(&mut self, input: &[u8], sink: &mut Sink) -> Result<(), BodyError> {
        match self {
            Self::Close => sink.push(input),
            Self::Length(left) => {
                let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                sink.push(input.get(..taken).unwrap_or_default());
                *left -= taken as u64;
            }
            Self::Chunked(chunked) => chunked.feed(input, sink)?,
        }
        Ok(())
    }

    /// [`Decoder::feed`], but a body that came as a whole is kept as it stands and not copied.
    ///
    /// # Errors
    /// As [`Decoder::feed`].
    pub(super) fn feed_all(&mut self, input: &mut Vec<u8>, sink: &mut Sink) -> Result<(), BodyError> {
        if matches!(self, Self::Length(left) if *left == input.len() as u64) && sink.takes(input) {
            *self = Self::Length(0);
            return Ok(());
        }
        self.feed(input, sink)
    }

    /// Whether the body has ended.
    pub(super) const fn ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// The body has not.
    pub(super) const fn close(&self) -> Result<(), BodyError> {
        match self {
            Self::Close | Self::Length(0) | Self::Chunked(Chunked::End) => Ok(()),
            Self::Length(left) => Err(BodyError::Short(*left)),
            Self::Chunked(_) => Err(BodyError::ShortChunks),
        }
    }
}

/// Where a chunked body stands (RFC 9112, 7.1).
#[derive(Debug)]
pub(super) enum Chunked {
    /// In the size of a chunk.
    Size { value: u64, digits: u8 },
    /// Behind the size, up to the end of its line.
    Line { value: u64, length: usize },
    /// So many bytes of the chunk are left.
    Data(u64),
    /// In the line end behind a chunk; whether its CR has come.
    DataEnd { cr: bool },
    /// In the trailers: their bytes so far, and whether the line is empty so far.
    Trailers { length: usize, empty: bool },
    /// At the end.
    End,
}

impl Chunked {
    fn feed(&mut self, mut input: &[u8], sink: &mut Sink) -> Result<(), BodyError> {
        while let Some((byte, rest)) = input.split_first() {
            match self {
                Self::End => return Ok(()),
                Self::Data(left) => {
                    let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    let (data, after) = input.split_at(taken);
                    sink.push(data);
                    *left -= taken as u64;
                    input = after;
                    if *left == 0 {
                        *self = Self::DataEnd { cr: false };
                    }
                    if sink.enough() {
                        return Ok(());
                    }
                }
                _ => {
                    self.step(*byte)?;
                    input = rest;
                }
            }
        }
        Ok(())
    }

    /// Takes one byte that is no data.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        let broken = |why| Err(BodyError::Chunks(why));
        *self = match *self {
            Self::Size { value, digits } => match char::from(byte).to_digit(16) {
                Some(_) if digits == 16 => return broken("a size has more than 16 digits"),
                Some(digit) => Self::Size { value: (value << 4) | u64::from(digit), digits: digits + 1 },
                None if digits == 0 => return broken("a chunk has no size"),
                None => match byte {
                    b'\n' => Self::begin(value),
                    b'\r' | b';' | b' ' | b'\t' => Self::Line { value, length: 0 },
                    _ => return broken("a size is no number"),
                },
            },
            Self::Line { value, .. } if byte == b'\n' => Self::begin(value),
            Self::Line { length: MAX_CHUNK_LINE, .. } => return broken("the line of a chunk has no end"),
            Self::Line { value, length } => Self::Line { value, length: length + 1 },
            Self::DataEnd { cr: false } if byte == b'\r' => Self::DataEnd { cr: true },
            Self::DataEnd { .. } if byte == b'\n' => Self::Size { value: 0, digits: 0 },
            Self::DataEnd { .. } => return broken("a chunk is longer than its size"),
            Self::Trailers { empty: true, .. } if byte == b'\n' => Self::End,
            Self::Trailers { length: MAX_TRAILERS, .. } => return broken("the trailers have no end"),
            Self::Trailers { length, empty } => {
                Self::Trailers { length: length + 1, empty: byte == b'\n' || (empty && byte == b'\r') }
            }
            Self::Data(_) | Self::End => return Ok(()),
        };
        Ok(())
    }

    const fn begin(size: u64) -> Self {
        if size == 0 { Self::Trailers { length: 0, empty: true } } else { Self::Data(size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const ALL: Wants = Wants { content: MAX_BODY, length: 0 };

    /// Feeds pieces up to the end of the body; whether it ended and what it holds.
    fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(bool, Vec<u8>), BodyError> {
        let mut decoder = Decoder::new(framing);
        let mut sink = Sink::new(ALL);
        for piece in pieces {
            decoder.feed(piece, &mut sink)?;
        }
        Ok((decoder.ended(), sink.kept))
    }

    #[rstest]
    #[case(b"0\r\n\r\n", b"")]
    #[case(b"2\r\nok\r\n0\r\n\r\n", b"ok")]
    #[case(b"2;a=\"b\"\r\nok\r\nA \r\n0123456789\r\n0\r\nx: y\r\n\r\nmore", b"ok0123456789")]
    #[case(b"2\nok\n0\n\n", b"ok")]
    fn chunks_are_put_together(#[case] bytes: &[u8], #[case] body: &[u8]) {
        assert_eq!(decode(Framing::Chunked, &[bytes]), Ok((true, body.to_vec())));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(Framing::Chunked, &single), Ok((true, body.to_vec())));
    }

    #[rstest]
    #[case(b"\r\n", "a chunk has no size")]
    #[case(b"-1\r\n", "a chunk has no size")]
    #[case(b"2x\r\n", "a size is no number")]
    #[case(b"00000000000000002\r\n", "a size has more than 16 digits")]
    #[case(b"2\r\nokay", "a chunk is longer than its size")]
    fn broken_chunks_say_what_is_broken(#[case] bytes: &[u8], #[case] why: &'static str) {
        assert_eq!(decode(Framing::Chunked, &[bytes]), Err(BodyError::Chunks(why)));
    }

    #[test]
    fn lines_and_trailers_without_end_are_cut_off() {
        let line = [b"2;".as_slice(), &[b'x'; MAX_CHUNK_LINE + 2]].concat();
        let cut = BodyError::Chunks("the line of a chunk has no end");
        assert_eq!(decode(Framing::Chunked, &[&line]), Err(cut));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(MAX_TRAILERS / 6 + 2)].concat();
        let cut = BodyError::Chunks("the trailers have no end");
        assert_eq!(decode(Framing::Chunked, &[&trailers]), Err(cut));
    }

    #[test]
    fn a_body_ends_at_its_length() {
        assert_eq!(decode(Framing::Length(2), &[b"o", b"kay"]), Ok((true, b"ok".to_vec())));
        let mut decoder = Decoder::new(Framing::Length(9));
        decoder.feed(b"half", &mut Sink::new(ALL)).unwrap();
        assert_eq!(decoder.close(), Err(BodyError::Short(5)));
        assert_eq!(Decoder::new(Framing::Chunked).close(), Err(BodyError::ShortChunks));
        assert_eq!(Decoder::new(Framing::Close).close(), Ok(()));
    }

    #[test]
    fn a_body_that_came_as_a_whole_is_kept_as_it_stands() {
        for (length, content, left) in [(4, MAX_BODY, 0), (3, MAX_BODY, 4), (4, 3, 4), (9, MAX_BODY, 4)] {
            let mut sink = Sink::new(Wants { content, length: 0 });
            let (mut decoder, mut input) = (Decoder::new(Framing::Length(length)), b"body".to_vec());
            decoder.feed_all(&mut input, &mut sink).unwrap();
            assert_eq!((input.len(), sink.received), (left, length.min(4)));
            assert_eq!(sink.kept, b"body".get(..content.min(usize::try_from(length.min(4)).unwrap())).unwrap());
            assert_eq!(decoder.ended(), length <= 4);
        }
    }

    #[test]
    fn no_more_than_the_limit_is_kept_and_counting_goes_on() {
        let mut sink = Sink::new(Wants { length: 3 << 20, ..ALL });
        for _ in 0..3 {
            sink.push(&vec![b'x'; 1 << 20]);
        }
        assert_eq!((sink.kept.len(), sink.received, sink.enough()), (MAX_BODY, 3 << 20, false));
        sink.push(b"x");
        assert!(sink.enough());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            let cut = decode(Framing::Chunked, &[first, second]);
            prop_assert_eq!(&cut, &decode(Framing::Chunked, &[&bytes]));
            if let Ok((_, body)) = cut {
                prop_assert!(body.len() <= bytes.len());
            }
        }

        #[test]
        fn whatever_is_chunked_comes_out_again(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            size in 1_usize..40,
        ) {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend_from_slice(format!("{:X};x=y\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nt: r\r\n\r\n");
            let cut: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(decode(Framing::Chunked, &cut), Ok((true, pieces.concat())));
        }
    }
}
