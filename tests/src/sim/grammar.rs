//! Constraints: which tokens may follow is a function of the tokens so far and nothing else, so
//! that a request is constrained alike alone and in company, in target rows and in draft rows.
//!
//! Most need no parser; [`GrammarKind::Real`] has the host's, whose state moves along with the
//! output, back over rejected draft tokens, and is sometimes thrown away.
use super::rng::fold;
use super::vocabulary;
use crate::draws::mix;
use verbatim::grammar::{ConstraintState, Next};

/// A constraint on the output, as a function of the tokens before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grammar {
    /// Tells constraints of one kind apart.
    pub seed: u64,
    /// How many tokens it allows.
    pub kind: GrammarKind,
}

/// How narrow a constraint is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GrammarKind {
    /// About half of the vocabulary.
    Half,
    /// Three tokens at most: outputs repeat themselves, so that lookup finds accepted tokens.
    Narrow,
    /// About half, and nothing at all from this many tokens on.
    EndsAt(usize),
    /// What one of the grammars of [`vocabulary`] allows; once it is complete, nothing.
    Real,
}

/// `u32` words of a mask over `vocab_size` ids.
pub fn mask_words(vocab_size: usize) -> usize {
    vocab_size.div_ceil(32)
}

/// How far a choice has come in its grammar. It may be made anew at any time.
#[derive(Debug, Default)]
pub struct Followed(Option<ConstraintState>);

impl Followed {
    /// The state in a real grammar, taken to `output`; `None` if the grammar does not have that.
    fn after(&mut self, grammar: &Grammar, output: &[u32]) -> Option<&mut ConstraintState> {
        let new = || ConstraintState::new(vocabulary::grammar(grammar.seed));
        let state = self.0.get_or_insert_with(new);
        state.follow(output).then_some(state)
    }

    /// The tokens that must follow `output`, if a real grammar forces any.
    pub fn forced(&mut self, grammar: &Grammar, output: &[u32]) -> Vec<u32> {
        match grammar.kind {
            GrammarKind::Real => self.after(grammar, output).map_or_else(Vec::new, ConstraintState::forced),
            _ => Vec::new(),
        }
    }
}

impl Grammar {
    /// Writes the mask of what may follow `context`, which begins with a prompt of `prompt_len`
    /// tokens: a bit for each id, set if it is allowed.
    pub fn allow(
        &self,
        followed: &mut Followed,
        (prompt_len, context): (usize, &[u32]),
        vocab_size: usize,
        mask: &mut [u32],
    ) {
        let last = context.iter().rev().take(2).fold(self.seed, |key, token| fold(key, u64::from(*token)));
        mask.fill(0);
        match self.kind {
            GrammarKind::EndsAt(len) if context.len() >= len => {}
            GrammarKind::Half | GrammarKind::EndsAt(_) => {
                for (i, word) in mask.iter_mut().enumerate() {
                    *word = mix(last.wrapping_add(i as u64)) as u32;
                }
            }
            GrammarKind::Narrow => {
                for i in 0..3 {
                    let id = (fold(last, i) % vocab_size as u64) as usize;
                    mask[id / 32] |= 1 << (id % 32);
                }
            }
            GrammarKind::Real => {
                let state = followed.after(self, &context[prompt_len..]);
                if let Some(Next::Tokens(bits)) = state.map(|state| state.next(&[])) {
                    let len = bits.len().min(mask.len());
                    mask[..len].copy_from_slice(&bits[..len]);
                }
            }
        }
    }
}
