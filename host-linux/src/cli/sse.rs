//! Server-sent events, as a client reads them: the data of each, in bounded memory.
use std::io::{self, BufRead, BufReader, Read};

/// Bytes of an event, at most.
const EVENT_MAX: usize = 8 << 20;

/// The data of the events of a stream, in order. Comments, and what else events have, are skipped.
pub(super) struct Events<R> {
    from: BufReader<R>,
    is_wanted: Box<dyn Fn() -> bool>,
}

impl<R: Read> Events<R> {
    /// The events of a body.
    pub(super) fn new(from: R) -> Self {
        Self { from: BufReader::new(from), is_wanted: Box::new(|| true) }
    }

    /// Ends the stream at the first line, be it a comment that keeps the connection, once
    /// `is_wanted` says that nobody wants more.
    pub(super) fn while_wanted(self, is_wanted: impl Fn() -> bool + 'static) -> Self {
        Self { is_wanted: Box::new(is_wanted), ..self }
    }

    /// One line without its end; `None` at the end of the stream.
    fn line(&mut self, room: usize) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = (&mut self.from).take(room as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.len() > room {
            let message = format!("an event has more than {EVENT_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let line = String::from_utf8(line);
        line.map(Some).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an event is no UTF-8 text"))
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = io::Result<String>;

    /// The next event that has data. One that the stream ends within is given out as it is.
    fn next(&mut self) -> Option<Self::Item> {
        let mut data: Option<String> = None;
        loop {
            let room = EVENT_MAX.saturating_sub(data.as_ref().map_or(0, String::len));
            let line = match self.line(room) {
                Ok(Some(line)) => line,
                Ok(None) => return data.map(Ok),
                Err(error) => return Some(Err(error)),
            };
            if !(self.is_wanted)() {
                return None;
            }
            if line.is_empty() {
                if data.is_some() {
                    return data.map(Ok);
                }
                continue;
            }
            let Some(value) = line.strip_prefix("data:") else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &[u8]) -> Vec<String> {
        Events::new(text).map(|event| event.unwrap_or_else(|error| format!("!{error}"))).collect()
    }

    #[test]
    fn events_are_their_data() {
        let text = b": hi\n\ndata: a\n\nevent: x\ndata:b\r\ndata:  c\r\n\r\nid: 7\n\ndata: [DONE]";
        assert_eq!(events(text), ["a", "b\n c", "[DONE]"]);
        assert!(events(b"").is_empty());
    }

    #[test]
    fn a_comment_is_enough_to_end_what_nobody_wants() {
        let pings = b": ping\n\n".repeat(9);
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = std::rc::Rc::clone(&asked);
        let is_wanted = move || {
            counted.set(counted.get() + 1);
            counted.get() < 3
        };
        assert!(Events::new(&pings[..]).while_wanted(is_wanted).next().is_none());
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn an_event_that_has_no_end_is_refused() {
        let endless = std::io::repeat(b'x');
        let first = Events::new(endless).next().expect("an error").unwrap_err();
        assert!(first.to_string().contains("more than 8388608 bytes"), "{first}");
        let many = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"
            .repeat(200_000);
        assert!(Events::new(&many[..]).next().expect("an error").is_err());
        assert_eq!(events(b"data: \xff\n\n"), ["!an event is no UTF-8 text", ""][..1]);
    }
}
