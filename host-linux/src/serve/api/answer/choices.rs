//! The choices of an answer, and how far the answer has come with each.
use super::call_ids::CallIds;
use super::parsed::ParsedBody;
use super::writer::ChoiceHead;
use crate::runtime::{Delta, Generation};
use crate::text::parts::{Part, PartReader};

/// A choice of an answer, and how far the answer has come with it.
#[derive(Debug)]
pub struct ChoiceState<'p> {
    /// Which choice of the answer it is.
    pub head: ChoiceHead<'p>,
    /// The number of its prompt.
    pub prompt: usize,
    /// The place of the first choice of the same prompt among those of the answer.
    pub leader: usize,
    /// Reads the choice's text as parts.
    pub reader: PartReader,
    /// Counts its tokens of reasoning.
    pub reasoning: ReasoningCount,
    /// Whether its prompt was told of.
    pub has_prompt: bool,
}

impl<'p> ChoiceState<'p> {
    /// The choices of all requests of a body, in order.
    pub fn all(parsed: &'p ParsedBody, fingerprint: &str, generation: &Generation) -> Vec<Self> {
        let mut choices: Vec<Self> = Vec::new();
        for (at, request) in parsed.requests.iter().enumerate() {
            let (first, place) = (choices.len(), parsed.place(at));
            // All requests of a prompt ask for the same of it.
            let sibling = choices.last().filter(|_| !parsed.begins_prompt(at));
            let (leader, call_ids) = match sibling {
                Some(sibling) => (sibling.leader, sibling.head.call_ids),
                None => (first, CallIds::new(fingerprint, request, &parsed.stop)),
            };
            for i in 0..request.choices as usize {
                let number = request.first_choice.wrapping_add(i as u32);
                let (at, index, prompt) = (first + i, place.index + i, place.prompt);
                let head = ChoiceHead { at, index, request, number, call_ids };
                let mut reader = PartReader::new(parsed.format.clone());
                let mut reasoning = ReasoningCount::default();
                // What was given out before it was resumed is read again, and given out no more.
                for text in generation.replayed(at) {
                    let mut told = Vec::new();
                    reader.push(text, &mut told);
                    reasoning.note(1, &told);
                }
                choices.push(Self { head, prompt, leader, reader, reasoning, has_prompt: false });
            }
        }
        choices
    }

    /// Takes what a token brought, and adds its parts to `parts`.
    pub fn push(&mut self, delta: &Delta, parts: &mut Vec<Part>) {
        self.reader.push(&delta.text, parts);
        self.reasoning.note(usize::from(delta.token.is_some()), parts);
    }
}

/// Counts tokens of reasoning. One that brings no part yet belongs to the part that comes next.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReasoningCount {
    count: usize,
    /// Tokens that have brought no part.
    waiting: usize,
}

impl ReasoningCount {
    /// Takes note of tokens and of the parts that they brought together.
    pub fn note(&mut self, tokens: usize, parts: &[Part]) {
        self.waiting += tokens;
        if let Some(last) = parts.last() {
            let waiting = std::mem::take(&mut self.waiting);
            self.count += if matches!(last, Part::Reasoning(_)) { waiting } else { 0 };
        }
    }

    /// The tokens so far.
    pub fn tokens(self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_the_part_that_they_bring() {
        let mut count = ReasoningCount::default();
        count.note(2, &[]);
        count.note(1, &[Part::Reasoning("a".to_owned())]);
        assert_eq!(count.tokens(), 3);
        count.note(1, &[]);
        count.note(1, &[Part::Text("b".to_owned())]);
        assert_eq!(count.tokens(), 3);
    }
}
