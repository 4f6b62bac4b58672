//! Marks in text that comes a character at a time.

/// Looks for the first of some marks; holds text back while it may be the beginning of one.
#[derive(Debug)]
pub(super) struct Marks {
    marks: Vec<&'static str>,
    held: String,
}

/// What a character did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No mark is complete.
    Nothing,
    /// The mark of this number is complete.
    Mark(usize),
}

impl Marks {
    /// Looks for these marks, none of which is empty. Of one that is the beginning of another the
    /// shorter is found.
    pub(super) fn new(marks: &[&'static str]) -> Self {
        Self { marks: marks.to_vec(), held: String::new() }
    }

    /// Whether text is held back.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes a character; what is no part of a mark is added to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> Found {
        self.held.push(c);
        while !self.held.is_empty() {
            if let Some(mark) = self.marks.iter().position(|mark| *mark == self.held) {
                self.held.clear();
                return Found::Mark(mark);
            }
            if self.marks.iter().any(|mark| mark.starts_with(&self.held)) {
                break;
            }
            out.push(self.held.remove(0));
        }
        Found::Nothing
    }

    /// What is held back is no mark.
    pub(super) fn release(&mut self, out: &mut String) {
        out.push_str(&std::mem::take(&mut self.held));
    }
}
