//! How far one distribution of the next token is from another, summed over positions.

/// The distribution of the next token at one position.
#[derive(Clone, Debug)]
pub(super) struct Distribution {
    /// The natural logarithm of each token's probability.
    logprobs: Vec<f64>,
    /// Where tokens are that are at most so probable, their probabilities are not known: a peer
    /// does not store them.
    floor: f64,
}

impl Distribution {
    /// The distribution that these logits make.
    pub(super) fn of_logits(logits: &[f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
        let logprobs = logits.iter().map(|x| f64::from(x - max) - sum.ln()).collect();
        Self { logprobs, floor: f64::NEG_INFINITY }
    }

    /// A distribution of which no more is known about the tokens at `floor` than that they are not
    /// above it.
    pub(super) fn with_floor(logprobs: Vec<f64>, floor: f64) -> Self {
        Self { logprobs, floor }
    }

    /// The most probable token; the first of several.
    pub(super) fn top(&self) -> usize {
        let p = &self.logprobs;
        (0..p.len()).fold(0, |best, i| if p[i] > p[best] { i } else { best })
    }

    /// KL(self ‖ other) in nats, of both given that the token is one whose probability is known
    /// here. Without a floor that is any token, and this the plain divergence.
    fn divergence(&self, other: &Self) -> f64 {
        let known = self.logprobs.iter().zip(&other.logprobs).filter(|(p, _)| **p > self.floor);
        let (mut mass, mut other_mass, mut sum) = (0.0, 0.0, 0.0);
        for (p, q) in known {
            let share = p.exp();
            mass += share;
            other_mass += q.exp();
            sum += share * (p - q);
        }
        if mass > 0.0 { sum / mass - mass.ln() + other_mass.ln() } else { 0.0 }
    }
}

/// Sums over the positions of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    log_loss: f64,
    /// Positions whose next token is in the text.
    pub(super) predicted: usize,
    divergence: f64,
    same: usize,
    rows: usize,
}

impl Score {
    /// Adds a position: its distribution, the exact one (`None` is this one itself), and the token
    /// that follows in the text.
    pub(super) fn add(&mut self, exact: Option<&Distribution>, here: &Distribution, next: Option<u32>) {
        if let Some(next) = next {
            self.log_loss -= here.logprobs[next as usize];
            self.predicted += 1;
        }
        self.divergence += exact.map_or(0.0, |exact| exact.divergence(here));
        self.same += usize::from(exact.is_none_or(|exact| exact.top() == here.top()));
        self.rows += 1;
    }

    /// The perplexity of the tokens that follow.
    pub(super) fn perplexity(&self) -> f64 {
        (self.log_loss / self.predicted as f64).exp()
    }

    /// The mean of KL(exact ‖ here) over the positions, in nats.
    pub(super) fn mean_divergence(&self) -> f64 {
        self.divergence / self.rows as f64
    }

    /// The share of positions with the same most probable token.
    pub(super) fn same_share(&self) -> f64 {
        self.same as f64 / self.rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divergence_is_that_of_the_tokens_that_are_known() {
        let of = |logits: &[f32]| Distribution::of_logits(logits);
        let (p, q) = (of(&[1.0, 0.0, -1.0]), of(&[0.5, 0.5, -1.0]));
        let share = |d: &Distribution, i: usize| d.logprobs[i].exp();
        let plain: f64 = (0..3).map(|i| share(&p, i) * (share(&p, i) / share(&q, i)).ln()).sum();
        assert!((p.divergence(&q) - plain).abs() < 1e-15 && plain > 0.01);
        assert!(p.divergence(&p).abs() < 1e-15);
        // Where the last token is not known, its logit does not matter.
        let floor = p.logprobs[2];
        let cut = Distribution::with_floor(p.logprobs.clone(), floor);
        let (without, other) = (of(&[1.0, 0.0]), of(&[0.5, 0.5]));
        assert!((cut.divergence(&q) - without.divergence(&other)).abs() < 1e-12);
    }

    #[test]
    fn a_score_counts_positions_and_predictions_apart() {
        let (a, b) = (Distribution::of_logits(&[2.0, 0.0]), Distribution::of_logits(&[0.0, 2.0]));
        let mut score = Score::default();
        score.add(None, &a, Some(0));
        score.add(Some(&a), &b, None);
        assert_eq!((score.predicted, score.rows), (1, 2));
        assert!((score.perplexity() - 1.0 / a.logprobs[0].exp()).abs() < 1e-12);
        assert!((score.same_share() - 0.5).abs() < 1e-12);
        assert!((score.mean_divergence() - a.divergence(&b) / 2.0).abs() < 1e-12);
    }
}
