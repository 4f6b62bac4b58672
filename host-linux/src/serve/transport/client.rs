//! The client that waits for an answer: what was sent to it, and whether it is still there.
//!
//! A client that closes its connection and one that only says that it sends no more look alike over
//! TCP: both send FIN. The second one waits for its answer. So after a FIN the client is sent a few
//! bytes that mean nothing to it: a comment in a stream of events, `100 Continue` before any other
//! answer. The system of a client that is gone answers them with a reset.
use super::answer::{self, Persistence, StreamKind};
use super::head::{Head, Version};
use super::stream::{Patience, Stream};
use crate::serve::lifecycle::Lifecycle;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tiny_http::Method;

/// How often a client that sends no more is probed.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing of it was sent.
    Waiting,
    /// The head of a stream was sent, and maybe some events.
    Streaming,
    /// All of it was sent.
    Answered,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    /// Whether the connection is of no use any more: it broke, or a part of a piece was sent.
    is_broken: bool,
    /// Whether the connection ends with the answer.
    closes: bool,
    /// Whether it would end with an answer that is sent now: more of the request is on its way than
    /// is read for nothing.
    is_unread: bool,
    patience: Patience,
    probed: Option<Instant>,
    /// Bytes that mean nothing in a stream that has begun.
    filler: &'static [u8],
}

#[derive(Debug)]
struct Shared {
    stream: Arc<Stream>,
    version: Version,
    is_head: bool,
    lifecycle: Arc<Lifecycle>,
    state: Mutex<State>,
}

/// The client of one request; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Client(Arc<Shared>);

impl Client {
    /// The client that has sent `head`, and is waited for while it reads as [`Patience`] says.
    pub(in crate::serve) fn new(
        stream: &Arc<Stream>,
        head: &Head,
        write_time: Duration,
        lifecycle: &Arc<Lifecycle>,
    ) -> Self {
        let state = State {
            progress: Progress::Waiting,
            is_broken: false,
            closes: head.close,
            is_unread: false,
            patience: Patience::new(write_time),
            probed: None,
            filler: b"",
        };
        Self(Arc::new(Shared {
            stream: Arc::clone(stream),
            version: head.version,
            is_head: head.method == Method::Head,
            lifecycle: Arc::clone(lifecycle),
            state: Mutex::new(state),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer, or the first part of it, was sent.
    pub(in crate::serve) fn is_answered(&self) -> bool {
        self.state().progress != Progress::Waiting
    }

    /// Whether the client has closed its connection, as far as can be known now. Costs a call of
    /// the system.
    pub(in crate::serve) fn has_left(&self) -> bool {
        let mut state = self.state();
        if state.is_broken {
            return true;
        }
        match self.0.stream.look() {
            Ok(seen) if seen.broken => state.is_broken = true,
            Ok(seen) if seen.ended => self.probe(&mut state),
            // What cannot be looked at now may be looked at later.
            _ => {}
        }
        state.is_broken
    }

    /// Why what is generated for this client is of no use any more, if it is not.
    pub(in crate::serve) fn is_cut(&self) -> bool {
        self.0.lifecycle.is_cut()
    }

    /// Sends a client that sends no more a few bytes without a meaning.
    fn probe(&self, state: &mut State) {
        if state.probed.is_some_and(|at| at.elapsed() < PROBE_EVERY) {
            return;
        }
        let mut buffer = Vec::new();
        let bytes: &[u8] = match (state.progress, self.0.version) {
            (Progress::Waiting, Version::Http11) => b"HTTP/1.1 100 Continue\r\n\r\n",
            (Progress::Streaming, version) => {
                let filler = state.filler;
                let fill = |buffer: &mut Vec<u8>| buffer.extend_from_slice(filler);
                answer::piece(&mut buffer, version == Version::Http11, false, fill)
            }
            // Nothing can be sent that would not be taken for the answer.
            (Progress::Waiting, Version::Http10) | (Progress::Answered, _) => return,
        };
        state.probed = Some(Instant::now());
        match self.0.stream.try_write(bytes) {
            Ok(count) => state.is_broken = count < bytes.len(),
            // There are bytes on the way already, which do the same.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => state.is_broken = true,
        }
    }

    fn persistence(&self, state: &mut State) -> Persistence {
        state.closes |= state.is_unread || self.0.lifecycle.is_ending();
        match (state.closes, self.0.version) {
            (true, _) => Persistence::Close,
            (false, Version::Http10) => Persistence::KeepAlive,
            (false, Version::Http11) => Persistence::Implied,
        }
    }

    fn write(&self, state: &mut State, bytes: &[u8]) -> io::Result<()> {
        if state.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let written = self.0.stream.write_all(bytes, &mut state.patience);
        state.is_broken = written.is_err();
        written
    }

    /// The connection ends with the answer, which says so if it has not begun.
    pub(in crate::serve) fn close_after(&self) {
        self.state().closes = true;
    }

    /// What is sent from now on is sent without waiting for the client to read.
    pub(super) fn hurry(&self) {
        self.state().patience.end();
    }

    /// Whether an answer that is sent from now on ends the connection, since a body would come
    /// behind it that is too long to be read for nothing.
    pub(super) fn set_unread(&self, is_unread: bool) {
        self.state().is_unread = is_unread;
    }

    /// Sends a whole answer. `false` if there was one before.
    pub(in crate::serve) fn send_whole(&self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> bool {
        let mut state = self.state();
        if state.progress != Progress::Waiting {
            return false;
        }
        let persistence = self.persistence(&mut state);
        let bytes = answer::whole(status, headers, body, self.0.is_head, persistence);
        state.progress = Progress::Answered;
        // A client that is gone wants no answer.
        let _ = self.write(&mut state, &bytes);
        true
    }

    /// Sends the head of an answer in pieces. `false` if there was an answer before.
    pub(in crate::serve) fn open_stream(&self, headers: &[(&str, &str)], kind: StreamKind) -> bool {
        let mut state = self.state();
        if state.progress != Progress::Waiting {
            return false;
        }
        // HTTP/1.0 has no chunks, so the end of the connection ends the stream.
        state.closes |= self.0.version == Version::Http10;
        let persistence = self.persistence(&mut state);
        let is_chunked = self.0.version == Version::Http11;
        let bytes = answer::stream_head(headers, kind.content_type, is_chunked, persistence);
        state.progress = Progress::Streaming;
        state.filler = kind.filler;
        // If this fails, so will the first event, and that ends the request.
        let _ = self.write(&mut state, &bytes);
        true
    }

    /// Sends what `fill` appends to `buffer` as one piece of the stream; with `is_last` the stream
    /// ends. An error means that the client is gone, or reads no more.
    pub(in crate::serve) fn send_piece(
        &self,
        buffer: &mut Vec<u8>,
        is_last: bool,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let mut state = self.state();
        if state.progress != Progress::Streaming {
            return Ok(());
        }
        if is_last {
            state.progress = Progress::Answered;
        }
        let bytes = answer::piece(buffer, self.0.version == Version::Http11, is_last, fill);
        self.write(&mut state, bytes)
    }

    /// Whether another request may follow on the connection: the answer is whole, and neither side
    /// wants to close.
    pub(super) fn may_go_on(&self) -> bool {
        let state = self.state();
        state.progress == Progress::Answered && !state.is_broken && !state.closes
    }

    /// Whether the connection can still be ended in good order.
    pub(super) fn is_broken(&self) -> bool {
        self.state().is_broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    const TIME: Duration = Duration::from_secs(60);

    fn client(stream: Stream, version: &str) -> Client {
        stream.prepare().unwrap();
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        let (head, _) = Head::parse(head.as_bytes()).unwrap().unwrap();
        Client::new(&Arc::new(stream), &head, TIME, &Arc::new(Lifecycle::new().unwrap()))
    }

    fn tcp(version: &str) -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        theirs.set_read_timeout(Some(TIME)).unwrap();
        (client(listener.accept().unwrap().0.into(), version), theirs)
    }

    /// Whether the client is seen to have left, in time.
    fn leaves(client: &Client) -> bool {
        let since = Instant::now();
        while !client.has_left() {
            if since.elapsed() > TIME {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    fn send(client: &Client, bytes: &[u8], is_last: bool) -> io::Result<()> {
        client.send_piece(&mut Vec::new(), is_last, |buffer| buffer.extend_from_slice(bytes))
    }

    /// Looks until the client's end was seen, and a few times more.
    fn look(client: &Client) {
        let since = Instant::now();
        while !client.0.stream.look().unwrap().ended {
            assert!(since.elapsed() < TIME);
        }
        for _ in 0..10 {
            assert!(!client.has_left(), "it only sends no more");
        }
    }

    #[test]
    fn a_client_that_closes_has_left() {
        for begins in [false, true] {
            let (client, theirs) = tcp("1.1");
            assert!(!client.has_left());
            if begins {
                assert!(client.open_stream(&[], StreamKind::EVENTS));
            }
            // Bytes that it has sent ahead are no sign that it stays.
            (&theirs).write_all(b"GET /next").unwrap();
            drop(theirs);
            assert!(leaves(&client));
            assert!(!client.may_go_on());
            if begins {
                send(&client, b"x", false).unwrap_err();
            }
        }
    }

    #[test]
    fn a_client_that_is_reset_has_left() {
        let (client, theirs) = tcp("1.0");
        assert!(client.open_stream(&[], StreamKind::EVENTS));
        let mut piece = [0; 1];
        theirs.peek(&mut piece).unwrap();
        drop(theirs); // with unread bytes
        assert!(leaves(&client));
    }

    #[test]
    fn over_a_unix_socket_a_close_is_seen_at_once() {
        for version in ["1.0", "1.1"] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let client = client(ours.into(), version);
            theirs.shutdown(Shutdown::Write).unwrap();
            look(&client);
            drop(theirs);
            assert!(client.has_left());
        }
    }

    #[test]
    fn a_client_that_sends_no_more_is_probed_once_and_answered() {
        let (client, mut theirs) = tcp("1.1");
        theirs.shutdown(Shutdown::Write).unwrap();
        look(&client);
        assert!(client.send_whole(200, &[], b"{}"));
        drop(client);
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).unwrap();
        let rest = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").expect("a probe");
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\n{}"), "{answer}");
    }

    #[test]
    fn within_a_stream_the_probe_is_a_comment() {
        for (version, expected) in [("1.1", "8\r\n: ping\n\n\r\n1\r\nx\r\n0\r\n\r\n"), ("1.0", ": ping\n\nx")]
        {
            let (client, mut theirs) = tcp(version);
            assert!(client.open_stream(&[("x-a", "b")], StreamKind::EVENTS));
            theirs.shutdown(Shutdown::Write).unwrap();
            look(&client);
            send(&client, b"x", true).unwrap();
            assert_eq!(client.may_go_on(), version == "1.1");
            drop(client);
            let mut answer = String::new();
            theirs.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("\r\nx-a: b") && body == expected, "{answer}");
        }
    }

    #[test]
    fn before_an_answer_in_http_1_0_there_is_no_probe() {
        let (client, mut theirs) = tcp("1.0");
        theirs.shutdown(Shutdown::Write).unwrap();
        look(&client);
        client.send_whole(200, &[], b"{}");
        drop(client);
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Connection: close"));
    }

    #[test]
    fn a_request_has_one_answer_and_a_stream_that_does_not_end_ends_the_connection() {
        let (client, _theirs) = tcp("1.1");
        assert!(!client.is_answered() && !client.may_go_on());
        assert!(client.open_stream(&[], StreamKind::EVENTS) && client.is_answered());
        assert!(!client.open_stream(&[], StreamKind::EVENTS) && !client.send_whole(500, &[], b""));
        send(&client, b"x", false).unwrap();
        assert!(!client.may_go_on(), "its handler has died");
        send(&client, b"x", true).unwrap();
        assert!(client.may_go_on());
        client.close_after();
        assert!(!client.may_go_on());
    }
}
