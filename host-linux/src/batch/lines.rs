//! The lines of a file, none longer than a bound.
use std::io::{self, BufRead};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// Its bytes without the end of the line; of one that is too long, only the beginning.
    pub bytes: Vec<u8>,
    /// Whether it was longer than the bound.
    pub is_too_long: bool,
    /// Whether the file ends before the line does.
    pub is_torn: bool,
    /// The place in the file behind the line, in bytes.
    pub end: u64,
}

/// Reads lines one after another. Lines of nothing but blanks are left out.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    max: usize,
    number: usize,
    place: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `from`, of each at most `max` bytes.
    pub fn new(from: R, max: usize) -> Self {
        Self { from, max, number: 0, place: 0 }
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some(line) = self.any_line()? else { return Ok(None) };
            if line.is_too_long || !line.bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
    }

    fn any_line(&mut self) -> io::Result<Option<Line>> {
        let (mut bytes, mut is_too_long, start) = (Vec::new(), false, self.place);
        let is_torn = loop {
            let ahead = match self.from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                ahead => ahead?,
            };
            if ahead.is_empty() {
                break true;
            }
            let end = ahead.iter().position(|byte| *byte == b'\n');
            let piece = &ahead[..end.unwrap_or(ahead.len())];
            let room = self.max - bytes.len();
            is_too_long |= piece.len() > room;
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            let used = piece.len() + usize::from(end.is_some());
            self.from.consume(used);
            self.place += used as u64;
            if end.is_some() {
                break false;
            }
        };
        if self.place == start {
            return Ok(None);
        }
        self.number += 1;
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Ok(Some(Line { number: self.number, bytes, is_too_long, is_torn, end: self.place }))
    }
}

/// The number of lines of a file, as [`Lines`] counts them.
pub fn count(from: impl BufRead) -> io::Result<usize> {
    // A bound of one byte keeps nothing of a line but whether it has anything.
    let mut lines = Lines::new(from, 256);
    let mut count = 0;
    while lines.next_line()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn all(text: &str, max: usize, buffer: usize) -> Vec<Line> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text.as_bytes()), max);
        std::iter::from_fn(|| lines.next_line().expect("memory can be read")).collect()
    }

    #[test]
    fn lines_are_the_same_whatever_the_pieces() {
        let text = "{\"a\": 1}\r\n\n  \n{}\nlonger than ten bytes\n\u{e9}";
        for buffer in [1, 2, 3, 7, 1000] {
            let lines = all(text, 10, buffer);
            let found: Vec<_> =
                lines.iter().map(|line| (line.number, line.is_too_long, line.is_torn)).collect();
            assert_eq!(found, [(1, false, false), (4, false, false), (5, true, false), (6, false, true)]);
            assert_eq!(lines[0].bytes, b"{\"a\": 1}");
            assert_eq!(lines[2].bytes, b"longer tha");
            assert_eq!(lines.iter().map(|line| line.end).collect::<Vec<_>>(), [10, 17, 39, 41]);
        }
        assert_eq!(count(text.as_bytes()).expect("memory can be read"), 4);
        assert_eq!(all("", 10, 8), []);
    }
}
