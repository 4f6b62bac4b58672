//! The framing of bodies: from the bytes of a connection to the bytes of a body, within a limit.
use super::head::Framing;
use std::fmt;

/// The longest line between chunks, which has a chunk's size or a trailer, in bytes.
const LINE_MAX: usize = 4096;
/// Bytes of framing a body of chunks may have beside [`FRAMING_RATIO`] times its limit.
const FRAMING_BASE: usize = 64 << 10;
/// Chunks of a few bytes each cost several times their bytes; no client needs more than this.
const FRAMING_RATIO: usize = 8;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than the limit, which is given.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// Its chunks are not HTTP, for this reason.
    NotHttp(&'static str),
}

impl BodyError {
    /// The HTTP status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::NotHttp(_) => 400,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { max } => write!(f, "the body is larger than {max} bytes"),
            Self::NotHttp(what) => write!(f, "the request is not HTTP: {what}"),
        }
    }
}

impl std::error::Error for BodyError {}

/// What comes next in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// So many bytes of a body of known length.
    Bytes(usize),
    /// The line with the size of a chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    /// A trailer, or the empty line that ends the body.
    Trailer,
    /// Nothing, since the body is whole.
    Nothing,
}

/// Takes the framing off a body, piece by piece.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    next: Next,
    max: usize,
    /// Bytes of chunks so far.
    length: usize,
    /// Bytes of framing that may still come.
    framing_left: usize,
}

impl BodyDecoder {
    /// A decoder of a body of at most `max` bytes; a length beyond it is refused at once.
    pub fn new(framing: Framing, max: usize) -> Result<Self, BodyError> {
        let next = match framing {
            Framing::Length(0) => Next::Nothing,
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= max => Next::Bytes(length),
                _ => return Err(BodyError::TooLarge { max }),
            },
            Framing::Chunked => Next::Size,
        };
        let framing_left = max.saturating_mul(FRAMING_RATIO).saturating_add(FRAMING_BASE);
        Ok(Self { next, max, length: 0, framing_left })
    }

    /// Whether the body is whole. What follows belongs to the next request.
    pub fn is_done(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Bytes that are known to follow before anything must be decided: a good size for a buffer.
    pub fn expected(&self) -> usize {
        match self.next {
            Next::Bytes(left) | Next::Chunk(left) => left,
            _ => 0,
        }
    }

    /// Appends to `body` what can be taken from `bytes`; returns how many of them were used. The
    /// others must be there again, with more behind them, unless the body is whole.
    pub fn decode(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, BodyError> {
        let mut rest = bytes;
        while !self.is_done() {
            let before = rest.len();
            match self.next {
                Next::Bytes(left) => {
                    let left = left - take(&mut rest, left, body);
                    self.next = if left == 0 { Next::Nothing } else { Next::Bytes(left) };
                }
                Next::Chunk(left) => {
                    let left = left - take(&mut rest, left, body);
                    self.next = if left == 0 { Next::ChunkEnd } else { Next::Chunk(left) };
                }
                _ => self.framing(&mut rest)?,
            }
            if rest.len() == before {
                break;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Takes one line of framing, if it is whole.
    fn framing(&mut self, rest: &mut &[u8]) -> Result<(), BodyError> {
        if self.next == Next::ChunkEnd && rest.first().is_some_and(|byte| *byte != b'\r') {
            return Err(BodyError::NotHttp("the end of a chunk"));
        }
        let Some(line) = line(rest)? else { return Ok(()) };
        let used = line.len() + 2;
        self.framing_left = self
            .framing_left
            .checked_sub(used)
            .ok_or(BodyError::NotHttp("more framing of chunks than a body can need"))?;
        self.next = match self.next {
            Next::Size => match self.chunk_size(line)? {
                0 => Next::Trailer,
                size => Next::Chunk(size),
            },
            Next::ChunkEnd if line.is_empty() => Next::Size,
            Next::ChunkEnd => return Err(BodyError::NotHttp("the end of a chunk")),
            // Trailers are skipped.
            _ if line.is_empty() => Next::Nothing,
            _ => Next::Trailer,
        };
        *rest = &rest[used..];
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<usize, BodyError> {
        // What follows a semicolon is an extension, of which none is known.
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err(BodyError::NotHttp("the size of a chunk"));
        }
        let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        // A size beyond a usize is beyond every limit.
        let size = size.filter(|size| *size <= self.max - self.length);
        let size = size.ok_or(BodyError::TooLarge { max: self.max })?;
        self.length += size;
        Ok(size)
    }
}

fn take(rest: &mut &[u8], wanted: usize, body: &mut Vec<u8>) -> usize {
    let (taken, left) = rest.split_at(wanted.min(rest.len()));
    body.extend_from_slice(taken);
    *rest = left;
    taken.len()
}

/// The first line, without its end; `None` if it is not whole.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, BodyError> {
    let bounded = &bytes[..bytes.len().min(LINE_MAX)];
    match bounded.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) if bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n') => Ok(Some(&bytes[..end])),
        Some(end) if bytes[end] == b'\r' && end + 1 == bytes.len() => Ok(None),
        Some(_) => Err(BodyError::NotHttp("a bare line end within its chunks")),
        None if bytes.len() >= LINE_MAX => Err(BodyError::NotHttp("a line of its chunks is too long")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `bytes` as they come in pieces of these sizes: the body, and how much was used.
    fn decode(
        framing: Framing,
        max: usize,
        bytes: &[u8],
        pieces: &[usize],
    ) -> Result<(Vec<u8>, Option<usize>), BodyError> {
        let mut decoder = BodyDecoder::new(framing, max)?;
        let (mut body, mut used, mut come) = (Vec::new(), 0, 0);
        let mut sizes = pieces.iter().copied().chain([bytes.len()]);
        loop {
            used += decoder.decode(&bytes[used..come], &mut body)?;
            if decoder.is_done() || come == bytes.len() {
                break;
            }
            come = (come + sizes.next().unwrap_or(1).max(1)).min(bytes.len());
        }
        Ok((body, decoder.is_done().then_some(used)))
    }

    fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, Option<usize>), BodyError> {
        decode(Framing::Chunked, 100, bytes, &[])
    }

    #[test]
    fn bodies_are_read_and_what_follows_is_left() {
        assert_eq!(decode(Framing::Length(3), 3, b"abcd", &[]), Ok((b"abc".to_vec(), Some(3))));
        assert_eq!(decode(Framing::Length(0), 3, b"abcd", &[]), Ok((Vec::new(), Some(0))));
        assert_eq!(decode(Framing::Length(9), 9, b"abc", &[]), Ok((b"abc".to_vec(), None)));
        let whole = b"3;x=\"y\"\r\nabc\r\n0A \r\n0123456789\r\n000\r\nx: y\r\n\r\nGET";
        assert_eq!(chunked(whole), Ok((b"abc0123456789".to_vec(), Some(whole.len() - 3))));
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_their_bytes_come() {
        let large = Err(BodyError::TooLarge { max: 100 });
        assert_eq!(decode(Framing::Length(101), 100, b"", &[]), large);
        assert_eq!(decode(Framing::Length(u64::MAX), 100, b"", &[]), large);
        assert_eq!(chunked(b"65\r\n"), large);
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), large);
        assert_eq!(chunked(b"fffffffffffffffffffffffffff\r\n"), large);
        assert_eq!(chunked(b"1\r\na\r\n64\r\n"), large);
        assert!(chunked(b"64\r\n").is_ok());
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bytes in [
            &b"xyz\r\n"[..],
            b"\r\n",
            b";x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 1\r\n",
            b"1\nx",
            b"1;a\nb\r\n",
            b"1\rx\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\r\r\n",
            b"0\r\nx\ny\r\n",
        ] {
            assert!(matches!(chunked(bytes), Err(BodyError::NotHttp(_))), "{bytes:?}");
        }
        assert!(chunked(&[b'0'; LINE_MAX]).is_err());
        assert!(chunked(&[b'0'; LINE_MAX - 1]).is_ok());
    }

    #[test]
    fn framing_is_bounded_as_well() {
        let trailers =
            |count: usize| [b"0\r\n".to_vec(), b"x: y\r\n".repeat(count), b"\r\n".to_vec()].concat();
        assert!(chunked(&trailers(1000)).is_ok());
        assert!(chunked(&trailers(20_000)).is_err());
        let bomb = [b"1;".to_vec(), vec![b'x'; 4000], b"\r\na\r\n".to_vec()].concat().repeat(99);
        assert!(chunked(&bomb).is_err());
        // A byte a chunk is strange, but no attack.
        let small = [b"1\r\na\r\n".repeat(100), b"0\r\n\r\n".to_vec()].concat();
        assert_eq!(chunked(&small).unwrap().0.len(), 100);
    }

    proptest! {
        /// However a body is cut into reads, it is the same body, or the same error.
        #[test]
        fn any_split_gives_the_same_body(
            bytes in "[0-3]{1}\r\n[a-c]{0,3}\r\n(2;x\r\nab\r\n|3\r\nabc\r\n|1\r\n|\r|\n|x){0,4}(0\r\n(t: u\r\n)?\r\n)?(GET)?",
            pieces in proptest::collection::vec(1_usize..6, 0..40),
            length in 0_u64..20,
        ) {
            for framing in [Framing::Chunked, Framing::Length(length)] {
                let at_once = decode(framing, 8, bytes.as_bytes(), &[]);
                prop_assert_eq!(decode(framing, 8, bytes.as_bytes(), &pieces), at_once);
            }
        }

        /// What is sent in chunks arrives.
        #[test]
        fn chunks_of_any_size_add_up(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..20),
            pieces in proptest::collection::vec(1_usize..60, 0..40),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let expected = (chunks.concat(), Some(bytes.len()));
            prop_assert_eq!(decode(Framing::Chunked, 1000, &bytes, &pieces), Ok(expected));
        }

        /// No bytes do harm.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = chunked(&bytes);
        }
    }
}
