//! Compressed bodies: decompressed up to a limit, pure.

use std::io::{self, Read};

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::body::{MAX_BODY, Sink, Wants};
use super::head::Headers;

/// What a request asks for.
pub(super) const ACCEPTED: &str = "gzip, deflate, br";
/// The most bytes that a compressed body may become: no page has as many, and a bomb has more.
pub(super) const MAX_UNPACKED: u64 = 16 << 20;
/// How much is decompressed at a time: others get their turn in between.
const STEP: usize = 64 * 1024;
/// How much of compressed input is taken at a time.
const INPUT: usize = 4 * 1024;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

/// Why a body cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnpackError {
    /// A coding that was not asked for, or several.
    #[error("the body is encoded as `{0}`, which was not asked for")]
    Unknown(String),
    /// It breaks off or makes no sense.
    #[error("the {0} of the body is broken: {1}")]
    Broken(&'static str, String),
    /// It has no end.
    #[error("the body has more than {MAX_UNPACKED} bytes when it is decompressed")]
    TooLarge,
}

impl Coding {
    /// The coding of a body; `None` where it is not compressed.
    pub(super) fn of(headers: &Headers) -> Result<Option<Self>, UnpackError> {
        let mut found = None;
        for value in headers.all("content-encoding") {
            for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let coding = match name.to_ascii_lowercase().as_slice() {
                    b"" | b"identity" => continue,
                    b"gzip" | b"x-gzip" => Self::Gzip,
                    b"deflate" => Self::Deflate,
                    b"br" => Self::Brotli,
                    _ => return Err(UnpackError::Unknown(lossy(value))),
                };
                if found.replace(coding).is_some() {
                    return Err(UnpackError::Unknown(lossy(value)));
                }
            }
        }
        Ok(found)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
        }
    }

    fn reader<'a>(self, bytes: &'a [u8]) -> Box<dyn Read + Send + 'a> {
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            // By the book it is zlib; some servers send the bare stream.
            Self::Deflate if is_zlib(bytes) => Box::new(ZlibDecoder::new(bytes)),
            Self::Deflate => Box::new(DeflateDecoder::new(bytes)),
            Self::Brotli => Box::new(Decompressor::new(bytes, INPUT)),
        }
    }

    /// Decompresses a whole body: its beginning, and its size.
    ///
    /// # Errors
    /// It is broken, or has no end.
    pub(super) async fn unpack(self, bytes: &[u8]) -> Result<Sink, UnpackError> {
        let mut sink = Sink::new(Wants { content: MAX_BODY, length: MAX_UNPACKED });
        let mut reader = self.reader(bytes);
        let mut space = vec![0; STEP.min(MAX_BODY)];
        loop {
            let count = match reader.read(&mut space) {
                Ok(0) => return Ok(sink),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Broken(self.as_str(), error.to_string())),
            };
            sink.push(space.get(..count).unwrap_or_default());
            if sink.enough() {
                return Err(UnpackError::TooLarge);
            }
            tokio::task::consume_budget().await;
        }
    }
}

fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31),
        _ => true,
    }
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use rstest::rstest;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bare(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// `hello, world` by the reference encoder: one metablock, uncompressed.
    const BROTLI: &[u8] = b"\x8b\x05\x80hello, world\x03";

    fn coding(values: &[&str]) -> Result<Option<Coding>, UnpackError> {
        Coding::of(&Headers::collect(values.iter().map(|value| (b"Content-Encoding".as_slice(), value.as_bytes()))))
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&["identity"], None)]
    #[case(&["GZip"], Some(Coding::Gzip))]
    #[case(&["identity, deflate"], Some(Coding::Deflate))]
    #[case(&["br"], Some(Coding::Brotli))]
    fn the_header_names_the_coding(#[case] values: &[&str], #[case] found: Option<Coding>) {
        assert_eq!(coding(values), Ok(found));
    }

    #[rstest]
    #[case(&["zstd"])]
    #[case(&["gzip, gzip"])]
    #[case(&["gzip", "br"])]
    fn what_was_not_asked_for_is_refused(#[case] values: &[&str]) {
        assert!(matches!(coding(values), Err(UnpackError::Unknown(_))));
    }

    #[rstest]
    #[case(Coding::Gzip, gzip(b"hello, world"))]
    #[case(Coding::Gzip, [gzip(b"hello, "), gzip(b"world")].concat())]
    #[case(Coding::Deflate, zlib(b"hello, world"))]
    #[case(Coding::Deflate, bare(b"hello, world"))]
    #[case(Coding::Brotli, BROTLI.to_vec())]
    #[tokio::test]
    async fn every_coding_is_read(#[case] coding: Coding, #[case] bytes: Vec<u8>) {
        let sink = coding.unpack(&bytes).await.unwrap();
        assert_eq!((sink.kept.as_slice(), sink.received), (b"hello, world".as_slice(), 12));
        let half = bytes.get(..bytes.len() - 3).unwrap();
        assert!(matches!(coding.unpack(half).await, Err(UnpackError::Broken(..))), "{coding:?}");
    }

    #[rstest]
    #[case(Coding::Gzip, gzip(&vec![0; 17 << 20]))]
    #[case(Coding::Deflate, zlib(&vec![0; 17 << 20]))]
    #[tokio::test]
    async fn a_bomb_is_cut_off(#[case] coding: Coding, #[case] bytes: Vec<u8>) {
        assert!(bytes.len() < 100_000);
        assert_eq!(coding.unpack(&bytes).await.unwrap_err(), UnpackError::TooLarge);
    }

    #[tokio::test]
    async fn a_large_page_is_counted_and_its_beginning_kept() {
        let sink = Coding::Gzip.unpack(&gzip(&vec![b'x'; 2 << 20])).await.unwrap();
        assert_eq!((sink.kept.len(), sink.received), (MAX_BODY, 2 << 20));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli] {
                let _ = runtime.block_on(coding.unpack(&bytes));
            }
        }
    }
}
