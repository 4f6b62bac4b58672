//! Constraints without a parser: which tokens may follow is a function of the tokens so far and
//! nothing else, as it is for a grammar, so that a request is constrained alike alone and in
//! company, in target rows and in draft rows.
use super::rng::fold;
use crate::draws::mix;

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
}

/// `u32` words of a mask over `vocab_size` ids.
pub fn mask_words(vocab_size: usize) -> usize {
    vocab_size.div_ceil(32)
}

impl Grammar {
    /// Writes the mask of what may follow `context`: a bit for each id, set if it is allowed.
    pub fn allow(&self, context: &[u32], vocab_size: usize, mask: &mut [u32]) {
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
        }
    }
}
