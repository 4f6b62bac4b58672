//! Streamed answers: values that are sent as they come, in the framing of a dialect.
use super::transport::answer::StreamKind;
use super::transport::client::Client;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// How the values of a stream stand behind each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events that are data alone; the last one of an answer that is whole is `[DONE]`.
    #[default]
    Sse,
    /// Server-sent events, each with a line that names it. The stream just ends.
    NamedSse,
    /// A line of JSON for each value. The stream just ends.
    Ndjson,
    /// One JSON document, which comes after bytes that mean nothing in it.
    Document,
}

impl Framing {
    /// What the transport must know of such a stream. Its filler is a comment, or a space before
    /// the next value.
    pub(super) fn kind(self) -> StreamKind {
        match self {
            Self::Sse | Self::NamedSse => StreamKind::EVENTS,
            Self::Ndjson => StreamKind { content_type: "application/x-ndjson", filler: b" " },
            Self::Document => StreamKind { content_type: "application/json", filler: b" " },
        }
    }
}

/// A stream of values. Each is on its way when the call returns, in one write. An error means that
/// the client is gone.
#[derive(Debug)]
pub struct Events {
    /// None if there was another answer, so that everything goes nowhere.
    client: Option<Client>,
    framing: Framing,
    buffer: Vec<u8>,
    /// When something was sent last.
    sent: Instant,
}

impl Events {
    /// The events of an answer whose head was sent to `client`.
    pub(super) fn new(client: Option<Client>, framing: Framing) -> Self {
        Self { client, framing, buffer: Vec::new(), sent: Instant::now() }
    }

    fn write(&mut self, is_last: bool, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.sent = Instant::now();
        let Some(client) = &self.client else { return Ok(()) };
        client.send_piece(&mut self.buffer, is_last, fill)
    }

    /// Sends `value`. Where events have names, its `type` is its name, as in all such dialects.
    pub fn send(&mut self, value: &Value) -> io::Result<()> {
        let name = value["type"].as_str().unwrap_or_default();
        self.send_named(name, value)
    }

    /// Sends `value` as the event `name`, which is told where events have names.
    pub fn send_named(&mut self, name: &str, value: &Value) -> io::Result<()> {
        self.send_any(name, value)
    }

    /// Sends whatever can be written as JSON, without a name.
    pub fn send_data(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.send_any("", value)
    }

    fn send_any(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let framing = self.framing;
        self.write(false, |buffer| {
            if framing == Framing::NamedSse && !name.is_empty() {
                buffer.extend_from_slice(b"event: ");
                buffer.extend_from_slice(name.as_bytes());
                buffer.push(b'\n');
            }
            let (before, after): (&[u8], &[u8]) = match framing {
                Framing::Sse | Framing::NamedSse => (b"data: ", b"\n\n"),
                Framing::Ndjson => (b"", b"\n"),
                Framing::Document => (b"", b""),
            };
            buffer.extend_from_slice(before);
            // A value is always JSON, and memory takes everything.
            let _ = serde_json::to_writer(&mut *buffer, value);
            buffer.extend_from_slice(after);
        })
    }

    /// The time that is left until nothing was sent for `silence`.
    pub fn rest(&self, silence: Duration) -> Duration {
        silence.saturating_sub(self.sent.elapsed())
    }

    /// Sends bytes that mean nothing, so that whoever waits sees that the answer is on its way.
    pub fn ping(&mut self) -> io::Result<()> {
        let filler = self.framing.kind().filler;
        self.write(false, |buffer| buffer.extend_from_slice(filler))
    }

    /// Ends an answer that is whole, with the event that says so where the framing has one.
    pub fn done(&mut self) -> io::Result<()> {
        let last: &[u8] = if self.framing == Framing::Sse { b"data: [DONE]\n\n" } else { b"" };
        self.write(true, |buffer| buffer.extend_from_slice(last))
    }

    /// Sends `error` as the last value of an answer that is not whole, and ends it. No `[DONE]`
    /// follows: a client or a program before it would take what came for all there is.
    pub fn fail(&mut self, error: &Value) -> io::Result<()> {
        self.send(error)?;
        self.end()
    }

    /// Ends an answer without a word. Where it is not ended at all the connection is closed, so
    /// that the client sees that the stream is not whole.
    pub fn end(&mut self) -> io::Result<()> {
        self.write(true, |_| {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::lifecycle::Lifecycle;
    use crate::serve::transport::head::Head;
    use crate::serve::transport::stream::Stream;
    use serde_json::json;
    use std::io::Read;
    use std::sync::Arc;

    /// The bytes that a client of HTTP/1.0 gets, which has no chunks: all that `send` sends.
    fn sent(framing: Framing, send: impl FnOnce(&mut Events) -> io::Result<()>) -> String {
        let (stream, mut theirs) = Stream::pair();
        let (head, _) = Head::parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        let lifecycle = Arc::new(Lifecycle::new().unwrap());
        let client = Client::new(&Arc::new(stream), &head, Duration::from_secs(60), &lifecycle);
        assert!(client.open_stream(&[], framing.kind()));
        send(&mut Events::new(Some(client), framing)).unwrap();
        let mut all = String::new();
        theirs.read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Type: {}\r\n", framing.kind().content_type)), "{head}");
        body.to_owned()
    }

    #[test]
    fn each_framing_has_its_own_bytes() {
        let send = |events: &mut Events| {
            events.ping()?;
            events.send(&json!({"type": "a", "x": "\n"}))?;
            events.send_named("b", &json!(1))?;
            events.done()
        };
        for (framing, expected) in [
            (Framing::Sse, ": ping\n\ndata: {\"type\":\"a\",\"x\":\"\\n\"}\n\ndata: 1\n\ndata: [DONE]\n\n"),
            (
                Framing::NamedSse,
                ": ping\n\nevent: a\ndata: {\"type\":\"a\",\"x\":\"\\n\"}\n\nevent: b\ndata: 1\n\n",
            ),
            (Framing::Ndjson, " {\"type\":\"a\",\"x\":\"\\n\"}\n1\n"),
            (Framing::Document, " {\"type\":\"a\",\"x\":\"\\n\"}1"),
        ] {
            assert_eq!(sent(framing, send), expected);
        }
    }

    #[test]
    fn a_stream_that_fails_is_not_taken_for_a_whole_one() {
        let fail = |events: &mut Events| events.fail(&json!({"error": 1}));
        for (framing, expected) in [
            (Framing::Sse, "data: {\"error\":1}\n\n"),
            (Framing::NamedSse, "data: {\"error\":1}\n\n"),
            (Framing::Ndjson, "{\"error\":1}\n"),
        ] {
            assert_eq!(sent(framing, fail), expected);
        }
    }

    #[test]
    fn silence_ends_with_whatever_is_sent() {
        let mut events = Events::new(None, Framing::Sse);
        events.sent = Instant::now() - Duration::from_secs(9);
        let rest = events.rest(Duration::from_secs(10));
        assert!(rest <= Duration::from_secs(1), "{rest:?}");
        events.ping().unwrap();
        assert!(events.rest(Duration::from_secs(10)) > Duration::from_secs(5));
        events.sent = Instant::now() - Duration::from_secs(11);
        assert!(events.rest(Duration::from_secs(10)).is_zero());
    }
}
