//! The hidden states of a prompt, gathered into one vector while the prompt is computed.
use crate::load::Pooling;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the engine has gathered of a prompt's hidden states.
///
/// They come once each in order of position, whatever steps the prompt is computed in. So the sums
/// below are always of the same numbers in the same order, and their bits depend on nothing else.
#[derive(Debug)]
pub struct PooledPrompt {
    pooling: Pooling,
    /// Tokens of the prompt.
    len: usize,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// The sum of the states so far; empty before the first one.
    sum: Vec<f64>,
    /// How many states that are.
    count: usize,
}

impl PooledPrompt {
    /// For a prompt of `len` tokens, of which nothing was computed yet.
    pub fn new(pooling: Pooling, len: usize) -> Self {
        Self { pooling, len, gathered: Mutex::default() }
    }

    /// The first position whose state counts. What is before it may come from the cache.
    pub fn first_position(&self) -> usize {
        match self.pooling {
            Pooling::Last => self.len.saturating_sub(1),
            Pooling::Mean | Pooling::Cls => 0,
        }
    }

    /// Takes the hidden state at a position.
    pub(super) fn add(&self, position: usize, hidden: &[f32]) {
        let counts = match self.pooling {
            Pooling::Mean => true,
            Pooling::Last => position + 1 == self.len,
            Pooling::Cls => position == 0,
        };
        if !counts {
            return;
        }
        let mut gathered = self.gathered();
        gathered.sum.resize(hidden.len(), 0.0);
        for (sum, x) in gathered.sum.iter_mut().zip(hidden) {
            *sum += f64::from(*x);
        }
        gathered.count += 1;
    }

    /// The mean of the states that count; empty if none has come.
    pub fn vector(&self) -> Vec<f32> {
        let gathered = self.gathered();
        let count = gathered.count.max(1) as f64;
        gathered.sum.iter().map(|sum| (sum / count) as f32).collect()
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scales a vector to length 1; one of zeros stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// The cosine of the angle between two vectors of the same length; 0 where one of them is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_its_states() {
        let states = [[1.0_f32, 2.0], [3.0, -2.0], [5.0, 6.0]];
        for (pooling, first, expected) in
            [(Pooling::Mean, 0, [3.0, 2.0]), (Pooling::Last, 2, [5.0, 6.0]), (Pooling::Cls, 0, [1.0, 2.0])]
        {
            let prompt = PooledPrompt::new(pooling, 3);
            assert_eq!(prompt.first_position(), first);
            assert_eq!(prompt.vector(), [0.0; 0]);
            for (position, state) in states.iter().enumerate() {
                prompt.add(position, state);
            }
            assert_eq!(prompt.vector(), expected, "{pooling:?}");
        }
    }

    #[test]
    fn lengths_and_angles() {
        let mut vector = [3.0_f32, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = [0.0_f32; 2];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 2]);
        assert_eq!((cosine(&[1.0, 0.0], &[0.0, 2.0]), cosine(&[2.0, 2.0], &[1.0, 1.0])), (0.0, 1.0));
        assert_eq!((cosine(&[1.0, 0.0], &[-3.0, 0.0]), cosine(&[1.0, 0.0], &[0.0, 0.0])), (-1.0, 0.0));
    }
}
