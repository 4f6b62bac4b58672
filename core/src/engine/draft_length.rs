//! How many guesses pay, from what became of those before.
//!
//! If each guess is right with probability a, k guesses yield `1 + a + … + a^k` tokens in a step
//! that costs `1 + k·c`, c being what making and verifying one costs (Leviathan, Kalman and Matias,
//! 2023, theorem 3.8). The best k is taken; where even that does not pay, none are made for a
//! while, twice as long each time.

/// What is known of a sequence's guesses of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct DraftLength {
    /// How likely a guess is right, by the latest ones.
    rate: f32,
    /// Steps for which no guesses are made.
    rest: u32,
    /// Steps of the next rest.
    next_rest: u32,
}

crate::memory::plain!(DraftLength { rate, rest, next_rest });

impl DraftLength {
    /// Nothing is known: guesses are tried.
    pub(super) const NEW: DraftLength = DraftLength { rate: 0.7, rest: 0, next_rest: 4 };
    /// The longest rest.
    const REST_MAX: u32 = 256;
    /// What one more outcome weighs.
    const WEIGHT: f32 = 0.15;
    /// Guesses pay when they make a step better by this much.
    const WORTH: f32 = 1.05;

    /// A guess was right.
    pub(super) fn accept(&mut self) {
        self.rate += (1.0 - self.rate) * Self::WEIGHT;
        self.next_rest = Self::NEW.next_rest;
    }

    /// A guess was wrong.
    pub(super) fn reject(&mut self) {
        self.rate -= self.rate * Self::WEIGHT;
    }

    /// How many guesses to make now, at most `most`, if making one costs `draft` and verifying it
    /// `row` of a step.
    pub(super) fn best(&mut self, most: u32, draft: f32, row: f32) -> u32 {
        if self.rest > 0 {
            self.rest -= 1;
            return 0;
        }
        let (mut tokens, mut power, mut best) = (1.0, 1.0, (0, Self::WORTH));
        for k in 1..=most {
            power *= self.rate;
            tokens += power;
            let gain = tokens / (1.0 + k as f32 * (draft + row));
            if gain > best.1 {
                best = (k, gain);
            }
        }
        if best.0 == 0 && most > 0 {
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
    fn guesses_that_are_right_get_longer_and_wrong_ones_end() {
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
