//! Where readers put what they found.
//!
//! Three rules hold for every format, so they are here. Text that may be a call (a *candidate*) is
//! kept until the call begins, which drops it, or until it turns out not to be one, which makes it
//! text. Blanks directly before a call, and behind the last one, are no text. Where only one call
//! is wanted, those after the first are dropped.
use super::part::Part;

/// Bytes of a candidate at most: a call that needs more before it begins is text.
pub(super) const HOLD_MAX: usize = 1 << 16;
/// Blanks that are held back until it is known what follows them.
const BLANKS_MAX: usize = 64;

/// Collects the parts of one answer.
#[derive(Debug, Default)]
pub(super) struct Sink {
    parts: Vec<Part>,
    /// Calls that have begun and are kept.
    calls: usize,
    /// Whether the answer can have calls, so that blanks are held back.
    holds_blanks: bool,
    /// Whether only the first call is wanted.
    is_single: bool,
    /// The call that is being read is not wanted.
    is_dropping: bool,
    blanks: String,
    candidate: Option<String>,
    /// The character that is read is not yet one of the candidate.
    begins_behind: bool,
}

impl Sink {
    /// For an answer that can have calls, or not; of several it keeps the first where `is_single`.
    pub(super) fn new(has_calls: bool, is_single: bool) -> Self {
        Self { holds_blanks: has_calls, is_single, ..Self::default() }
    }

    /// Moves what was found to `out`.
    pub(super) fn drain(&mut self, out: &mut Vec<Part>) {
        out.append(&mut self.parts);
    }

    /// Calls that have begun.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Adds text of the answer.
    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            if self.holds_blanks && c.is_whitespace() && self.blanks.len() < BLANKS_MAX {
                self.blanks.push(c);
                continue;
            }
            self.flush_blanks();
            self.visible(c);
        }
    }

    fn visible(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => self.parts.push(Part::Text(c.to_string())),
        }
    }

    fn flush_blanks(&mut self) {
        for c in std::mem::take(&mut self.blanks).chars() {
            self.visible(c);
        }
    }

    /// Adds text of the reasoning.
    pub(super) fn reasoning(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Reasoning(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Reasoning(text.to_owned())),
        }
    }

    /// What follows, after `text`, may be a call.
    pub(super) fn candidate(&mut self, text: &str) {
        self.candidate = Some(text.to_owned());
    }

    /// What follows the character that is read may be a call.
    pub(super) fn candidate_behind(&mut self) {
        self.candidate = Some(String::new());
        self.begins_behind = true;
    }

    /// A character of the candidate was read. False if it has become too long.
    pub(super) fn took(&mut self, c: char) -> bool {
        if std::mem::take(&mut self.begins_behind) {
            return true;
        }
        let Some(candidate) = &mut self.candidate else { return true };
        candidate.push(c);
        candidate.len() <= HOLD_MAX
    }

    /// The candidate is no call: its characters are text.
    pub(super) fn give_up(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.text(&candidate);
        }
    }

    /// The candidate belonged to a call that has begun before.
    pub(super) fn settle(&mut self) {
        self.candidate = None;
    }

    /// A call begins: the candidate was one.
    pub(super) fn begin(&mut self, name: &str) {
        self.candidate = None;
        self.blanks.clear();
        self.is_dropping = self.is_single && self.calls > 0;
        if !self.is_dropping {
            self.parts.push(Part::CallBegins { call: self.calls, name: name.to_owned() });
            self.calls += 1;
        }
    }

    /// Adds JSON text to the arguments of the call that began last.
    pub(super) fn arguments(&mut self, json: &str) {
        if self.is_dropping || json.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Arguments { fragment, .. }) => fragment.push_str(json),
            _ => {
                let call = self.calls.saturating_sub(1);
                self.parts.push(Part::Arguments { call, fragment: json.to_owned() });
            }
        }
    }

    /// Nothing comes any more.
    pub(super) fn finish(&mut self) {
        let is_separator = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
        if self.calls > 0 && self.candidate.as_ref().is_some_and(|text| text.chars().all(is_separator)) {
            // It stood between a call and one that never came.
            self.settle();
        }
        self.give_up();
        if self.calls == 0 {
            self.flush_blanks();
        }
    }
}
