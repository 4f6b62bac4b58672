//! What is measured of the engine's steps and tokens. The engine thread writes it once a step, in
//! far less than a microsecond; anybody reads it, without a lock.
use crate::runtime::meters::{Counter, Histogram};
use crate::runtime::pacing::costs::StepRows;
use std::time::Duration;
use verbatim_core::engine::StepKind;

/// What a step is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepClass {
    /// A step of the served model in which a prompt has a part.
    Prefill,
    /// A step of the served model in which every sequence draws a token.
    Decode,
    /// A step of the draft model.
    Draft,
}

impl StepClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Prefill, Self::Decode, Self::Draft];

    /// The class as a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Draft => "draft",
        }
    }

    pub(super) fn of(step: &StepRows) -> Self {
        match step.kind {
            StepKind::Draft => Self::Draft,
            StepKind::Target if step.is_decode() => Self::Decode,
            StepKind::Target => Self::Prefill,
        }
    }
}

/// Seconds of a step, by which steps are counted.
const STEP_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];
/// Rows of a step, by which steps are counted.
const STEP_ROWS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];

/// Tokens of a step, by which steps are counted: vLLM's buckets.
const STEP_TOKENS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];

/// What was measured of an engine since it was started first; a restart does not reset it.
#[derive(Debug)]
pub struct EngineStats {
    /// How long steps took, by class.
    step_seconds: [Histogram; 3],
    /// Rows of the served model's steps.
    pub step_rows: Histogram,
    /// Rows of the served model's steps, in vLLM's buckets.
    pub iteration_tokens: Histogram,
    /// Tokens that were handed to readers.
    pub tokens: Counter,
    /// Prompt tokens of the sequences that were admitted, each time that they were.
    pub prefix_queries: Counter,
    /// Those of them whose keys and values were in the cache.
    pub prefix_hits: Counter,
    /// Sequences of a step that had draft tokens in it, over all steps.
    pub drafts: Counter,
    /// Draft tokens that were given to the served model.
    pub draft_tokens: Counter,
}

impl Default for EngineStats {
    fn default() -> Self {
        Self {
            step_seconds: StepClass::ALL.map(|_| Histogram::of_seconds(STEP_SECONDS)),
            step_rows: Histogram::of_counts(STEP_ROWS),
            iteration_tokens: Histogram::of_counts(STEP_TOKENS),
            tokens: Counter::default(),
            prefix_queries: Counter::default(),
            prefix_hits: Counter::default(),
            drafts: Counter::default(),
            draft_tokens: Counter::default(),
        }
    }
}

impl EngineStats {
    /// Notes a step that has ended.
    pub(super) fn note_step(&self, step: &StepRows, took: Duration) {
        let class = StepClass::of(step);
        self.seconds(class).note(took);
        if class != StepClass::Draft {
            self.step_rows.note_count(step.count);
            self.iteration_tokens.note_count(step.count);
            self.draft_tokens.add(step.drafted);
            self.drafts.add(step.drafts);
        }
    }

    /// How long the steps of a class took.
    pub fn seconds(&self, class: StepClass) -> &Histogram {
        &self.step_seconds[class as usize]
    }
}
