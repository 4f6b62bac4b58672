//! The file of log-probabilities that llama.cpp's llama-perplexity writes with
//! `--kl-divergence-base`.
//!
//! ```text
//! "_logits_"  window: u32  vocabulary: i32  windows: i32  tokens: i32 …, of all windows
//! each window, each position of its second half but the last:
//!     step: f32  floor: f32  code of each token: u16 …  padding to an even number of codes
//! ```
//!
//! All is little-endian. A token's log-probability is `floor + code · step`. The floor is 16 below
//! the best token's, so the step is 2.4e-4 at most, and rounding to it takes a distribution 2.5e-9
//! nats away at most; what a token at the floor, of code 0, really has is lost, so these are left
//! out of comparisons.
use super::score::Distribution;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"_logits_";

/// Bytes before the tokens.
const HEAD_BYTES: usize = 20;

/// Tokens of a vocabulary, at most.
const VOCABULARY_MAX: usize = 1 << 20;

/// Tokens of all windows, at most.
const TOKENS_MAX: usize = 1 << 24;

/// An open file, whose length is what its head says.
#[derive(Debug)]
pub(super) struct LogitsFile {
    path: PathBuf,
    file: File,
    window: usize,
    vocabulary: usize,
    tokens: Vec<u32>,
}

impl LogitsFile {
    /// Opens the file of a run with windows of `window` tokens, at least 4.
    pub(super) fn open(path: &Path, window: usize) -> Result<Self, String> {
        let wrong = |what: String| format!("{}: {what}", path.display());
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let len = file.metadata().map_err(|error| wrong(error.to_string()))?.len();
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, 0)
            .map_err(|_| wrong(format!("ends in its head, after {len} bytes: llama-perplexity gave up")))?;
        if head[..8] != MAGIC {
            return Err(wrong("does not begin with \"_logits_\": llama-perplexity has changed".to_owned()));
        }
        let number = |at: usize| u32_at(&head, at) as usize;
        let (own_window, vocabulary, windows) = (number(8), number(12), number(16));
        if own_window != window {
            return Err(wrong(format!("has windows of {own_window} tokens, not of {window}")));
        }
        if !(1..=VOCABULARY_MAX).contains(&vocabulary) {
            return Err(wrong(format!("has a vocabulary of {vocabulary}, not of 1 to {VOCABULARY_MAX}")));
        }
        let token_count = window.saturating_mul(windows);
        if !(1..=TOKENS_MAX).contains(&token_count) {
            return Err(wrong(format!("has {token_count} tokens, not 1 to {TOKENS_MAX}")));
        }
        let mut opened = Self { path: path.to_owned(), file, window, vocabulary, tokens: Vec::new() };
        let expected =
            opened.rows_start(token_count) + (opened.row_bytes() * windows * rows_of(window)) as u64;
        if len != expected {
            return Err(wrong(format!("has {len} bytes, not the {expected} that its head says")));
        }
        let mut bytes = vec![0; token_count * 4];
        opened.read(HEAD_BYTES as u64, &mut bytes)?;
        opened.tokens = (0..token_count).map(|i| u32_at(&bytes, i * 4)).collect();
        if let Some(token) = opened.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(wrong(format!("has token {token} in a vocabulary of {vocabulary}")));
        }
        Ok(opened)
    }

    /// The tokens of the text, all windows in a row. What a model begins a text with stands before
    /// the first window only, though each window is fed with it in place of its first token.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of the vocabulary.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The number of windows.
    pub(super) fn windows(&self) -> usize {
        self.tokens.len() / self.window
    }

    /// The distribution at a position whose row is there.
    pub(super) fn row(&self, window: usize, position: usize) -> Result<Distribution, String> {
        let index = window * rows_of(self.window) + position - self.window / 2;
        let mut bytes = vec![0; self.row_bytes()];
        let start = self.rows_start(self.tokens.len());
        self.read(start + index as u64 * bytes.len() as u64, &mut bytes)?;
        let number = |at: usize| f32::from_bits(u32_at(&bytes, at));
        let (step, floor) = (number(0), number(4));
        if !(step.is_finite() && step > 0.0 && floor.is_finite()) {
            return Err(format!(
                "{}: window {window}, position {position}: step {step} and floor {floor} are no numbers",
                self.path.display()
            ));
        }
        let codes = bytes[8..].chunks_exact(2).take(self.vocabulary);
        let logprob = |code: &[u8]| {
            let code = u16::from_le_bytes([code[0], code[1]]);
            f64::from(floor) + f64::from(code) * f64::from(step)
        };
        Ok(Distribution::with_floor(codes.map(logprob).collect(), f64::from(floor)))
    }

    /// Where the first row is, after so many tokens.
    fn rows_start(&self, token_count: usize) -> u64 {
        (HEAD_BYTES + token_count * 4) as u64
    }

    fn row_bytes(&self) -> usize {
        8 + self.vocabulary.next_multiple_of(2) * 2
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// The positions of a window that have a row.
pub(super) fn positions(window: usize) -> std::ops::Range<usize> {
    window / 2..window - 1
}

fn rows_of(window: usize) -> usize {
    positions(window).len()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::super::score::Score;
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    /// A row as llama-perplexity writes it.
    fn row(logits: &[f32]) -> Vec<u8> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let min = logits.iter().copied().fold(f32::INFINITY, f32::min).max(max - 16.0);
        let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
        let (step, floor) = ((max - min) / 65535.0, min - max - sum.ln() as f32);
        let mut bytes = [step.to_le_bytes(), floor.to_le_bytes()].concat();
        for x in logits {
            let code = if *x > min { ((x - min) / step).round_ties_even() as u16 } else { 0 };
            bytes.extend(code.to_le_bytes());
        }
        bytes.resize(8 + logits.len().next_multiple_of(2) * 2, 0);
        bytes
    }

    /// A file of windows of 4 tokens.
    fn file(vocabulary: u32, tokens: &[u32], rows: &[Vec<f32>]) -> Vec<u8> {
        let numbers = [4, vocabulary, tokens.len() as u32 / 4].into_iter().chain(tokens.iter().copied());
        let head = MAGIC.into_iter().chain(numbers.flat_map(u32::to_le_bytes));
        head.chain(rows.iter().flat_map(|logits| row(logits))).collect()
    }

    fn open(bytes: &[u8]) -> Result<LogitsFile, String> {
        let folder = TemporaryDirectory::new("logits-file");
        let path = folder.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        LogitsFile::open(&path, 4)
    }

    /// Logits of a wide spread, many more than 16 below the best.
    fn logits(seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..2001).map(|_| 24.0 * draw() + 3.0 * draw()).collect()
    }

    #[test]
    fn a_row_is_as_it_was_within_the_rounding() {
        let rows = [logits(1), logits(2)];
        let opened = open(&file(2001, &[5, 6, 7, 8, 9, 10, 11, 2000], &rows)).unwrap();
        assert_eq!((opened.tokens()[7], opened.windows(), opened.vocabulary()), (2000, 2, 2001));
        assert_eq!(positions(4), 2..3);
        for (window, logits) in rows.iter().enumerate() {
            let stored = opened.row(window, 2).unwrap();
            let exact = Distribution::of_logits(logits);
            assert_eq!(stored.top(), exact.top());
            let mut score = Score::default();
            score.add(Some(&stored), &exact, Some(7));
            assert!(score.mean_divergence().abs() < 1e-8, "{}", score.mean_divergence());
        }
        // Another row is far away.
        let mut score = Score::default();
        score.add(Some(&opened.row(0, 2).unwrap()), &Distribution::of_logits(&rows[1]), None);
        assert!(score.mean_divergence() > 1.0);
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let whole = file(3, &[0, 1, 2, 0], &[vec![0.0, 1.0, 2.0]]);
        assert!(open(&whole).is_ok());
        for len in 0..whole.len() {
            assert!(open(&whole[..len]).is_err(), "{len} bytes");
        }
        let changed = |at: usize, value: u32| {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            open(&bytes)
        };
        for (at, value, expected) in [
            (0, 7, "does not begin"),
            (8, 6, "windows of 6 tokens, not of 4"),
            (12, 0, "a vocabulary of 0"),
            (12, u32::MAX, "a vocabulary of 4294967295"),
            (16, 2, "not the"),
            (16, u32::MAX, "tokens, not 1 to"),
            (20, 3, "token 3 in a vocabulary of 3"),
        ] {
            let error = changed(at, value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let opened = changed(36, f32::NAN.to_bits()).unwrap();
        assert!(opened.row(0, 2).unwrap_err().contains("no numbers"));
    }
}
