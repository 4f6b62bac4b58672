//! A conversation with a file or a program: what is read is answered, and nothing else is said.
use super::command::{self, is_whole};
use super::talk::{Step, Talk};
use std::io::{BufRead, Read};

/// Bytes of a message, at most; no context holds more.
const MESSAGE_MAX: usize = 64 << 20;

/// Answers what is read, line by line, or as many lines as belong together. The first error ends
/// it.
pub(super) fn run(mut talk: Talk, input: &mut dyn BufRead) -> Result<(), String> {
    loop {
        let Some(typed) = next(input)? else { return Ok(()) };
        if talk.take(command::parse(&typed)?)? == Step::Leave {
            return Ok(());
        }
    }
}

/// The next lines that belong together; none at the end.
fn next(input: &mut dyn BufRead) -> Result<Option<String>, String> {
    let mut typed = Vec::new();
    loop {
        let before = typed.len();
        let read = input.take((MESSAGE_MAX - before) as u64 + 1).read_until(b'\n', &mut typed);
        read.map_err(|error| format!("standard input: {error}"))?;
        if typed.len() > MESSAGE_MAX {
            return Err(format!("standard input: found a message of more than {MESSAGE_MAX} bytes"));
        }
        let is_end = typed.len() == before;
        let text = std::str::from_utf8(&typed).map_err(|_| "standard input: found text that is no UTF-8")?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if is_end && before == 0 {
            return Ok(None);
        }
        if is_end || is_whole(text) {
            return Ok(Some(text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut input: &[u8]) -> Vec<String> {
        std::iter::from_fn(|| next(&mut input).unwrap_or_else(|error| Some(format!("!{error}"))))
            .take(9)
            .collect()
    }

    #[test]
    fn lines_that_belong_together_are_one_message() {
        assert_eq!(read(b"a\r\nb\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(read(b"a\\\nb\n\"\"\"\nc\n\nd\n\"\"\"\ne"), ["a\\\nb", "\"\"\"\nc\n\nd\n\"\"\"", "e"]);
        assert_eq!(read(b"\"\"\"\nopen\n"), ["\"\"\"\nopen"], "the end of the input closes it");
        assert!(read(b"").is_empty());
        assert!(read(b"\xff\n")[0].contains("no UTF-8"));
    }
}
