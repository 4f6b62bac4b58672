//! Server-sent events, the framing of streamed answers.
use serde_json::Value;
use std::io::Write;
use tiny_http::{HTTPVersion, Request};

/// An event stream. tiny_http's own responses would hold events back until they are 8 KiB, so this
/// writes the response itself and flushes after each event.
pub struct Events {
    writer: Box<dyn Write + Send>,
    chunked: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("chunked", &self.chunked).finish_non_exhaustive()
    }
}

impl Events {
    /// Sends the head of the answer to `request`. Without a request everything goes nowhere.
    pub(super) fn open(request: Option<Request>, headers: &[(&str, &str)]) -> Self {
        let Some(request) = request else {
            return Self { writer: Box::new(std::io::sink()), chunked: false };
        };
        // HTTP/1.0 has no chunks, so the end of the connection ends the stream.
        let chunked = *request.http_version() >= HTTPVersion(1, 1);
        let mut head =
            String::from("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n");
        head.push_str("X-Accel-Buffering: no\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(if chunked {
            "Transfer-Encoding: chunked\r\n\r\n"
        } else {
            "Connection: close\r\n\r\n"
        });
        let mut events = Self { writer: request.into_writer(), chunked };
        // If this fails, so will the first event, and that ends the request.
        let _ = events.writer.write_all(head.as_bytes()).and_then(|()| events.writer.flush());
        events
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        if self.chunked {
            write!(self.writer, "{:x}\r\n{text}\r\n", text.len())?;
        } else {
            self.writer.write_all(text.as_bytes())?;
        }
        self.writer.flush()
    }

    /// Sends `value` as one event. An error means that the client is gone.
    pub fn send(&mut self, value: &Value) -> std::io::Result<()> {
        self.write(&format!("data: {value}\n\n"))
    }

    /// Sends the event that ends every stream, and ends the answer.
    pub fn done(&mut self) -> std::io::Result<()> {
        self.write("data: [DONE]\n\n")?;
        if self.chunked {
            self.writer.write_all(b"0\r\n\r\n")?;
        }
        self.writer.flush()
    }
}
