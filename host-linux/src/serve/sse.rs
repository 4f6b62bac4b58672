//! Server-sent events, the framing of streamed answers.
use super::transport::client::Client;
use serde_json::Value;

/// An event stream. Each event is on its way when the call returns, in one write.
#[derive(Debug)]
pub struct Events {
    /// None if there was another answer, so that everything goes nowhere.
    client: Option<Client>,
    buffer: Vec<u8>,
}

impl Events {
    /// The events of an answer whose head was sent to `client`.
    pub(super) fn new(client: Option<Client>) -> Self {
        Self { client, buffer: Vec::new() }
    }

    fn write(&mut self, is_last: bool, fill: impl FnOnce(&mut Vec<u8>)) -> std::io::Result<()> {
        let Some(client) = &self.client else { return Ok(()) };
        client.send_piece(&mut self.buffer, is_last, fill)
    }

    /// Sends `value` as one event. An error means that the client is gone.
    pub fn send(&mut self, value: &Value) -> std::io::Result<()> {
        self.write(false, |buffer| {
            buffer.extend_from_slice(b"data: ");
            // A value is always JSON, and memory takes everything.
            let _ = serde_json::to_writer(&mut *buffer, value);
            buffer.extend_from_slice(b"\n\n");
        })
    }

    /// Sends the event that ends every stream, and ends the answer. Without it the connection is
    /// closed, so that the client sees that the stream is not whole.
    pub fn done(&mut self) -> std::io::Result<()> {
        self.write(true, |buffer| buffer.extend_from_slice(b"data: [DONE]\n\n"))
    }
}
