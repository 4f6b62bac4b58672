//! Tokens that a request forbids, whatever the model says: all but some, and those that would
//! complete a word.
//!
//! Like a grammar, a restriction is a function of the output so far, so it is a part of the key of
//! an answer and may stand beside drafts, preemption and resuming.

/// Bits of a word of a mask.
const BITS: u32 = u32::BITS;

/// What a request forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The only tokens that are allowed, if only some are: sorted, each once.
    allowed: Option<Vec<u32>>,
    /// Sequences of tokens that the output never has; none is empty.
    words: Vec<Vec<u32>>,
}

impl Restriction {
    /// A restriction to the tokens in `allowed`, if it is given, that forbids the sequences in
    /// `words`; `None` if that forbids nothing. Empty sequences are ignored.
    pub fn new(allowed: Option<Vec<u32>>, words: Vec<Vec<u32>>) -> Option<Self> {
        let allowed = allowed.map(|mut allowed| {
            allowed.sort_unstable();
            allowed.dedup();
            allowed
        });
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let restricts = allowed.is_some() || !words.is_empty();
        restricts.then_some(Self { allowed, words })
    }

    /// The only tokens that are allowed, if only some are: sorted, each once.
    pub fn allowed(&self) -> Option<&[u32]> {
        self.allowed.as_deref()
    }

    /// Sequences of tokens that the output never has; none is empty.
    pub fn words(&self) -> &[Vec<u32>] {
        &self.words
    }

    /// Clears the bits of `mask` that are forbidden after `output`, the tokens that were generated
    /// so far. Token 0 is the lowest bit of the first word; those outside of the mask are ignored.
    pub fn apply(&self, output: &[u32], mask: &mut [u32]) {
        if let Some(allowed) = &self.allowed {
            let mut next = allowed.iter().copied().peekable();
            for (at, word) in mask.iter_mut().enumerate() {
                let mut kept = 0;
                while let Some(token) = next.next_if(|token| token / BITS == at as u32) {
                    kept |= 1 << (token % BITS);
                }
                *word &= kept;
            }
        }
        for word in &self.words {
            let Some((last, before)) = word.split_last() else { continue };
            if output.ends_with(before)
                && let Some(bits) = mask.get_mut((last / BITS) as usize)
            {
                *bits &= !(1 << (last % BITS));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed_after(restriction: &Restriction, output: &[u32], vocab: u32) -> Vec<u32> {
        let mut mask = vec![u32::MAX; vocab.div_ceil(BITS) as usize];
        restriction.apply(output, &mut mask);
        (0..vocab).filter(|token| mask[(token / BITS) as usize] >> (token % BITS) & 1 == 1).collect()
    }

    #[test]
    fn what_forbids_nothing_is_no_restriction() {
        assert_eq!(Restriction::new(None, vec![Vec::new()]), None);
        let none = Restriction::new(Some(Vec::new()), Vec::new()).expect("nothing is allowed");
        assert!(allowed_after(&none, &[], 70).is_empty());
    }

    proptest! {
        #[test]
        fn a_mask_has_what_the_definition_has(
            allowed in prop::option::of(prop::collection::vec(0_u32..90, 0..20)),
            words in prop::collection::vec(prop::collection::vec(0_u32..4, 1..4), 0..6),
            output in prop::collection::vec(0_u32..4, 0..6),
        ) {
            let is_allowed = |token: u32| {
                let completes = |word: &Vec<u32>| {
                    let mut after = output.clone();
                    after.push(token);
                    after.ends_with(word)
                };
                allowed.as_ref().is_none_or(|allowed| allowed.contains(&token)) && !words.iter().any(completes)
            };
            let expected: Vec<u32> = (0..80).filter(|token| is_allowed(*token)).collect();
            let found = Restriction::new(allowed.clone(), words.clone())
                .map_or((0..80).collect(), |restriction| allowed_after(&restriction, &output, 80));
            prop_assert_eq!(found, expected);
        }
    }
}
