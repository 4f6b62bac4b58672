//! Ids to text, a token at a time.
//!
//! What a token adds depends on those before it (a decoder may strip the first piece's space), and a character's bytes may
//! be spread over several tokens. So a short window is decoded twice, without and with the new ids; the difference is
//! what is new, held back while it ends in an incomplete character. The window starts at the last place where text was
//! complete, so the cost of a token does not grow with the output.
use super::{TextError, Tokenizer};

/// Prompt ids that are looked back at.
const CONTEXT: usize = 8;
/// Bytes of a character at most, each of which may be a token: longer runs of replacement characters are real.
const HELD_MAX: usize = 8;

/// Turns one sequence's ids into text.
#[derive(Debug)]
pub struct Detokenizer<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    ids: Vec<u32>,
    /// Start of the window.
    start: usize,
    /// Ids whose text was given out.
    read: usize,
}

impl<'t> Detokenizer<'t> {
    /// For what follows `prompt`.
    pub fn new(tokenizer: &'t Tokenizer, prompt: &[u32], skip_special: bool) -> Self {
        let ids = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
        let read = ids.len();
        Self { tokenizer, skip_special, ids, start: 0, read }
    }

    /// The text that is complete with this id.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.ids.push(id);
        let (before, now) = self.decode()?;
        let held = self.ids.len() - self.read;
        if !now.starts_with(&before)
            || (now.ends_with('\u{fffd}') && held < HELD_MAX)
            || now.len() <= before.len()
        {
            return Ok(String::new());
        }
        let text = now[before.len()..].to_owned();
        self.start = self.read;
        self.read = self.ids.len();
        if self.start > 64 {
            self.ids.drain(..self.start);
            self.read -= self.start;
            self.start = 0;
        }
        Ok(text)
    }

    /// What is still held back: incomplete characters become U+FFFD.
    pub fn finish(&mut self) -> Result<String, TextError> {
        let (before, now) = self.decode()?;
        self.start = self.ids.len();
        self.read = self.ids.len();
        Ok(now.strip_prefix(before.as_str()).unwrap_or_default().to_owned())
    }

    fn decode(&self) -> Result<(String, String), TextError> {
        let before = self.tokenizer.decode(&self.ids[self.start..self.read], self.skip_special)?;
        let now = self.tokenizer.decode(&self.ids[self.start..], self.skip_special)?;
        Ok((before, now))
    }
}
