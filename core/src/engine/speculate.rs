//! Speculation: tokens are guessed, the guesses' rows are computed together with the last token's,
//! and a guess counts when the served model draws the same token (Leviathan, Kalman and Matias,
//! 2023, with exact equality in place of rejection sampling: noise is a function of the position,
//! so the target's draw at a position does not depend on who proposed what). It changes how many
//! tokens a step yields, never which.

pub use crate::model::{DraftCache, DraftModel};

/// Where guesses come from, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speculation {
    /// From the request's own prompt and output.
    pub lookup: bool,
    /// From the model that drafts, if the engine has one.
    pub model: bool,
    /// When.
    pub mode: SpeculationMode,
    /// What each row beyond the first costs a step, in steps of one row; as the host measured it.
    pub row_cost: f32,
    /// What a step of the model that drafts costs, in steps of the served model of as many rows.
    pub draft_cost: f32,
}

/// When guesses are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeculationMode {
    /// Where they have paid so far, and as many as pay.
    Auto,
    /// As many as fit, always.
    Forced,
}

impl Speculation {
    /// No guesses.
    pub const OFF: Speculation = Speculation {
        lookup: false,
        model: false,
        mode: SpeculationMode::Auto,
        row_cost: 0.05,
        draft_cost: 0.3,
    };
    /// Lookup where it pays: it costs no memory and no other model.
    pub const LOOKUP: Speculation = Speculation { lookup: true, ..Speculation::OFF };
    /// All sources where they pay.
    pub const AUTO: Speculation = Speculation { lookup: true, model: true, ..Speculation::OFF };
}
