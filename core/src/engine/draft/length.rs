//! The number of draft tokens that pays, estimated from how many earlier ones were accepted.
//!
//! If each draft token is accepted with probability a, k of them yield `1 + a + … + a^k` tokens in
//! a step that costs `1 + k·c`, c being the cost of making and verifying one (Leviathan, Kalman and
//! Matias, 2023, theorem 3.8). The best k is taken; where even that does not pay, none are made for
//! a while, which is twice as long each time.

/// Statistics of a sequence's draft tokens from one source, and the pauses that follow from them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(in crate::engine) struct DraftLength {
    /// The estimated probability that a draft token is accepted, from the latest outcomes.
    rate: f32,
    /// Steps for which no draft tokens are made from now on.
    rest: u32,
    /// Steps for which none are made the next time that they do not pay.
    next_rest: u32,
}

crate::memory::plain!(DraftLength { rate, rest, next_rest });

impl DraftLength {
    /// Nothing is known yet, and draft tokens are tried.
    pub(in crate::engine) const NEW: DraftLength = DraftLength { rate: 0.7, rest: 0, next_rest: 4 };
    /// The longest rest, in steps.
    const REST_MAX: u32 = 256;
    /// The weight of one more outcome in the estimate.
    const WEIGHT: f32 = 0.15;
    /// Draft tokens pay if they yield this many times the tokens for the cost of a step.
    const WORTH: f32 = 1.05;

    /// Notes that a draft token was accepted.
    pub(in crate::engine) fn accept(&mut self) {
        self.rate += (1.0 - self.rate) * Self::WEIGHT;
        self.next_rest = Self::NEW.next_rest;
    }

    /// Notes that a draft token was rejected.
    pub(in crate::engine) fn reject(&mut self) {
        self.rate -= self.rate * Self::WEIGHT;
    }

    /// How many draft tokens to make now, up to `max`, if making one costs `draft` and verifying it
    /// `row`, both in steps of one row.
    pub(in crate::engine) fn best(&mut self, max: u32, draft: f32, row: f32) -> u32 {
        if self.rest > 0 {
            self.rest -= 1;
            return 0;
        }
        let (mut tokens, mut power, mut best) = (1.0, 1.0, (0, Self::WORTH));
        for k in 1..=max {
            power *= self.rate;
            tokens += power;
            let gain = tokens / (1.0 + k as f32 * (draft + row));
            if gain > best.1 {
                best = (k, gain);
            }
        }
        if best.0 == 0 && max > 0 {
            self.rest = self.next_rest;
            self.next_rest = (2 * self.next_rest).min(Self::REST_MAX);
            self.rate = Self::NEW.rate;
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_that_are_accepted_get_longer_and_rejected_ones_end() {
        let mut length = DraftLength::NEW;
        let at_first = length.best(8, 0.0, 0.05);
        assert!((1..8).contains(&at_first));
        (0..40).for_each(|_| length.accept());
        assert_eq!(length.best(8, 0.0, 0.05), 8);
        (0..40).for_each(|_| length.reject());
        let rests: std::vec::Vec<u32> = (0..3)
            .map(|_| {
                let mut steps = 0;
                loop {
                    match length.best(8, 0.0, 0.05) {
                        0 => steps += 1,
                        _ => break (0..40).for_each(|_| length.reject()),
                    }
                }
                steps
            })
            .collect();
        // The step that gives up, then a rest, each longer than the last.
        assert_eq!(rests, [5, 9, 17]);
        let mut length = DraftLength::NEW;
        assert_eq!(length.best(0, 0.0, 0.05), 0);
        assert_eq!(length.best(8, 0.9, 0.05), 0, "a draft that costs as much as a token");
    }
}
