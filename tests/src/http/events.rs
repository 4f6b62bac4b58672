//! Server-sent events out of the bytes of a body.

/// Cuts a body into the data of its events. Comments and other fields are passed over.
#[derive(Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
    /// The bytes before it are taken.
    start: usize,
    /// The data lines of the event that has not ended.
    data: Option<String>,
}

impl Events {
    /// Takes the next bytes of the body.
    pub fn push(&mut self, part: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(part);
    }

    /// The data of the next event that has come whole.
    pub fn pop(&mut self) -> Option<String> {
        loop {
            let rest = &self.bytes[self.start..];
            let len = rest.iter().position(|byte| *byte == b'\n')?;
            let line = String::from_utf8_lossy(&rest[..len]);
            let line = line.trim_end_matches('\r');
            self.start += len + 1;
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Some(data);
                }
            } else if let Some(value) = line.strip_prefix("data:") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut self.data {
                    None => self.data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_whatever_their_pieces() {
        let text =
            ": ping\n\ndata: {\"a\": 1}\n\nevent: x\r\ndata:b\r\ndata: c\r\n\r\ndata: [DONE]\n\ndata: half";
        for piece in [1, 2, 5, 100] {
            let mut events = Events::default();
            let mut got = Vec::new();
            for part in text.as_bytes().chunks(piece) {
                events.push(part);
                got.extend(std::iter::from_fn(|| events.pop()));
            }
            assert_eq!(got, ["{\"a\": 1}", "b\nc", "[DONE]"]);
        }
    }
}
