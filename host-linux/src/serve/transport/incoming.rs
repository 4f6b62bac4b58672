//! Reads what a client sends: heads and bodies, each bounded in bytes and in time.
use super::body::BodyDecoder;
use super::head::{HEAD_MAX, Head, HeadError};
use super::limits::ConnectionLimits;
use super::places::Place;
use super::refusal;
use super::stream::Stream;
use super::traffic::{Body, Reservation};
use crate::serve::error::ApiError;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Capacity that a connection keeps while it is idle, in bytes.
const KEPT: usize = 16 << 10;

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Missing {
    /// The client is gone or was idle for too long, so nobody waits for an answer.
    Closed,
    /// The client is told the error, and the connection ends.
    Refused(ApiError),
}

impl<E: Into<ApiError>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// The bytes that a connection sends. Of those that are read ahead there are never more than one
/// head, and one [`PIECE`].
#[derive(Debug)]
pub(super) struct Incoming<'s> {
    stream: &'s Stream,
    /// The place of the connection, which others may take; none in tests.
    place: Option<&'s Place>,
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that were used.
    used: usize,
}

impl<'s> Incoming<'s> {
    pub(super) fn new(stream: &'s Stream, place: Option<&'s Place>) -> Self {
        Self { stream, place, buffer: Vec::new(), used: 0 }
    }

    /// Bytes that were read and not yet used.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
        }
    }

    /// Reads what comes first and waits for it until `deadline`, which the option `time` sets.
    /// Returns the number of bytes, which is 0 at the end of the connection.
    fn fill(&mut self, deadline: Instant, time: &'static str, wait_first: bool) -> Result<usize, Missing> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + PIECE, 0);
        let read = self.stream.read(&mut self.buffer[length..], deadline, wait_first);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        // What was on its way when the connection was evicted still arrives.
        if self.place.is_some_and(Place::is_evicted) {
            return Err(Missing::Closed);
        }
        read.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Missing::Refused(refusal::too_slow(time)),
            _ => Missing::Closed,
        })
    }

    /// Waits for the first byte of the next request.
    fn first_byte(&mut self, idle_time: Duration) -> Result<(), Missing> {
        if !self.ahead().is_empty() {
            return Ok(());
        }
        self.buffer.shrink_to(KEPT);
        match self.fill(Instant::now() + idle_time, "idle-seconds", true) {
            Ok(1..) => Ok(()),
            _ => Err(Missing::Closed),
        }
    }

    /// Reads the head of the next request.
    pub(super) fn head(&mut self, limits: &ConnectionLimits) -> Result<Head, Missing> {
        self.first_byte(limits.idle_time)?;
        let deadline = Instant::now() + limits.head_time;
        // A head that comes byte by byte is not parsed for each of them, but what is no head should
        // not be waited for: it is looked at whenever it has doubled.
        let (mut look_at, mut searched) = (1, 0);
        loop {
            // Some clients send an empty line after a body, which is no part of the next request.
            let empty = self.ahead().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.consume(empty);
            let ahead = self.ahead();
            let is_whole = ahead[searched..].windows(4).any(|window| window == b"\r\n\r\n");
            searched = ahead.len().saturating_sub(3);
            if is_whole || ahead.len() >= look_at {
                if let Some((head, length)) = Head::parse(ahead)? {
                    self.consume(length);
                    return Ok(head);
                }
                look_at = 2 * ahead.len().max(1);
            }
            let is_begun = !self.ahead().is_empty();
            if self.ahead().len() > HEAD_MAX {
                return Err(HeadError::TooLarge.into());
            }
            if self.fill(deadline, "head-seconds", false)? == 0 {
                return Err(if is_begun { refusal::cut_short("head").into() } else { Missing::Closed });
            }
        }
    }

    /// Reads so many bytes for nothing, until `deadline`.
    pub(super) fn skip(&mut self, mut count: usize, deadline: Instant) -> Result<(), Missing> {
        loop {
            let here = count.min(self.ahead().len());
            self.consume(here);
            count -= here;
            if count == 0 {
                return Ok(());
            }
            if self.fill(deadline, "body-seconds", false)? == 0 {
                return Err(Missing::Closed);
            }
        }
    }

    /// Reads the whole body that a decoder frames, and pays for it by a reservation of nothing yet.
    /// Where bodies of its kind have no room left, those that have been coming for longest give way
    /// to it.
    pub(super) fn body(
        &mut self,
        mut decoder: BodyDecoder,
        limits: &ConnectionLimits,
        mut reservation: Reservation,
    ) -> Result<Body, Missing> {
        let deadline = Instant::now() + limits.body_time;
        let mut body = Vec::new();
        loop {
            // Memory is taken as bytes arrive, whatever the client has announced.
            let needed = body.len() + self.ahead().len().min(limits.body_bytes - body.len());
            if needed > body.capacity() && !decoder.is_done() {
                let announced = body.len() + decoder.expected();
                let capacity = (2 * needed).min(announced.max(needed));
                while !reservation.grow(capacity, limits.total_body_bytes) {
                    if !self.place.is_some_and(|place| place.evict_a_body(reservation.kind())) {
                        return Err(refusal::bodies_full().into());
                    }
                }
                body.reserve_exact(capacity - body.len());
            }
            let count = decoder.decode(self.ahead(), &mut body)?;
            self.consume(count);
            if decoder.is_done() {
                return Ok(Body::new(body, reservation));
            }
            if self.fill(deadline, "body-seconds", false)? == 0 {
                return Err(refusal::cut_short("body").into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::traffic::{BodyKind, Traffic};
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    fn limits() -> ConnectionLimits {
        ConnectionLimits { total_body_bytes: 1 << 20, ..ConnectionLimits::new(100, 1 << 16) }
    }

    /// Everything that a connection asks for until its end: paths and bodies, and the status of the
    /// refusal that ends it.
    fn requests(stream: &Stream, limits: &ConnectionLimits) -> (Vec<(String, Vec<u8>)>, Option<u16>) {
        let traffic = Arc::new(Traffic::default());
        let mut incoming = Incoming::new(stream, None);
        let mut all = Vec::new();
        let end = loop {
            let request = incoming.head(limits).and_then(|head| {
                let decoder = BodyDecoder::new(head.framing, limits.body_bytes)?;
                let reservation = Reservation::new(&traffic, BodyKind::Request);
                Ok((head, incoming.body(decoder, limits, reservation)?))
            });
            match request {
                Ok((head, body)) => all.push((head.path, body.to_vec())),
                Err(Missing::Closed) => break None,
                Err(Missing::Refused(error)) => break Some(error.status),
            }
            assert!(incoming.ahead().len() <= HEAD_MAX + PIECE);
        };
        assert_eq!(traffic.body_bytes.load(Ordering::Relaxed), 0);
        (all, end)
    }

    const THREE: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\nPOST /b HTTP/1.1\r\nHost: h\r\n\
        Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\nt: u\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However the bytes of three requests are cut into reads, they are the same requests.
        #[test]
        fn any_split_gives_the_same_requests(cuts in proptest::collection::vec(0..THREE.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (ours, mut theirs) = Stream::pair();
            let writer = std::thread::spawn(move || {
                let mut from = 0;
                for cut in cuts.into_iter().chain([THREE.len()]) {
                    theirs.write_all(&THREE.as_bytes()[from..cut]).unwrap();
                    std::thread::yield_now();
                    from = cut;
                }
            });
            let (all, end) = requests(&ours, &limits());
            writer.join().unwrap();
            let expected = [("/a", "abc"), ("/b", "def"), ("/c", "")];
            prop_assert_eq!(end, None);
            prop_assert_eq!(all, expected.map(|(path, body)| (path.to_owned(), body.as_bytes().to_vec())).to_vec());
        }
    }

    /// The budgets that were spent by what never came.
    #[test]
    fn what_is_late_is_counted_by_the_option_that_says_so() {
        let soon = Duration::from_millis(20);
        let limits = ConnectionLimits { head_time: soon, body_time: soon, ..limits() };
        let reservation = Reservation::new(&Arc::default(), BodyKind::Request);
        let (ours, mut theirs) = Stream::pair();
        let mut incoming = Incoming::new(&ours, None);
        theirs.write_all(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nab").unwrap();
        let head = incoming.head(&limits).unwrap();
        let decoder = BodyDecoder::new(head.framing, limits.body_bytes).unwrap();
        let late = incoming.body(decoder, &limits, reservation).unwrap_err();
        assert!(matches!(late, Missing::Refused(ApiError { budget: Some("body-seconds"), .. })), "{late:?}");
        theirs.write_all(b"GET / ").unwrap();
        let late = incoming.head(&limits).unwrap_err();
        assert!(matches!(late, Missing::Refused(ApiError { budget: Some("head-seconds"), .. })), "{late:?}");
    }

    fn send(bytes: &[u8], limits: &ConnectionLimits) -> Option<u16> {
        let (ours, mut theirs) = Stream::pair();
        theirs.write_all(bytes).unwrap();
        requests(&ours, limits).1
    }

    #[test]
    fn what_never_comes_is_not_waited_for() {
        let soon = Duration::from_millis(20);
        let limits = ConnectionLimits { head_time: soon, body_time: soon, idle_time: soon, ..limits() };
        assert_eq!(send(b"", &limits), None, "idle");
        assert_eq!(send(b"\r\n\r\n", &limits), Some(408));
        assert_eq!(send(b"GET / HT", &limits), Some(408));
        assert_eq!(send(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nab", &limits), Some(408));
    }

    #[test]
    fn garbage_is_refused_before_it_ends() {
        for (bytes, status) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"\0", 400),
        ] {
            assert_eq!(send(bytes, &limits()), Some(status), "{bytes:?}");
        }
        let endless = [b"GET / HTTP/1.0\r\nx: ".to_vec(), vec![b'y'; HEAD_MAX]].concat();
        assert_eq!(send(&endless, &limits()), Some(431));
    }

    #[test]
    fn half_a_request_at_the_end_of_the_connection_is_told() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nab"] {
            let (ours, mut theirs) = Stream::pair();
            theirs.write_all(bytes).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(requests(&ours, &limits()).1, Some(400));
        }
    }

    #[test]
    fn bodies_are_bounded_one_by_one_and_together() {
        let post =
            |length: usize| format!("POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        let body = |length: usize| [post(length), vec![b'x'; length]].concat();
        let limits = ConnectionLimits { body_bytes: 100, total_body_bytes: 100, ..limits() };
        assert_eq!(send(&post(101), &limits), Some(413), "before a byte of it came");
        let (ours, mut theirs) = Stream::pair();
        theirs.write_all(&body(100)).unwrap();
        drop(theirs);
        assert_eq!(requests(&ours, &limits), (vec![("/".to_owned(), vec![b'x'; 100])], None));
        let scarce = ConnectionLimits { total_body_bytes: 99, ..limits };
        assert_eq!(send(&body(100), &scarce), Some(503));
    }
}
