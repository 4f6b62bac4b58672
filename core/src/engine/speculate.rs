//! The settings of speculative decoding.
//!
//! A cheap source proposes draft tokens, their rows are computed together with the last token's,
//! and a draft token is accepted when the served model draws the same one (Leviathan, Kalman and
//! Matias, 2023, with exact equality in place of rejection sampling: noise is a function of the
//! position, so the target's draw at a position does not depend on who proposed what). It changes
//! how many tokens a step yields, never which.
pub use crate::model::{DraftCache, DraftModel};

/// Where draft tokens come from, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speculation {
    /// Whether they come from the request's own prompt and output.
    pub lookup: bool,
    /// Whether they come from the draft model, if the engine has one.
    pub model: bool,
    /// Whether only as many are made as have paid so far.
    pub mode: SpeculationMode,
    /// What each row beyond the first adds to a step, in steps of one row, as the host measured it.
    pub row_cost: f32,
    /// What a step of the draft model costs, in steps of the served model with as many rows.
    pub draft_cost: f32,
}

/// When draft tokens are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeculationMode {
    /// Where they have paid so far, and as many as pay.
    Auto,
    /// As many as fit, always.
    Forced,
}

impl Speculation {
    /// No draft tokens; the costs are those of a host that has not measured any.
    pub const OFF: Speculation = Speculation {
        lookup: false,
        model: false,
        mode: SpeculationMode::Auto,
        row_cost: 0.05,
        draft_cost: 0.3,
    };
    /// Lookup where it pays, which takes no memory and no draft model.
    pub const LOOKUP: Speculation = Speculation { lookup: true, ..Speculation::OFF };
    /// Lookup and the draft model, each where it pays.
    pub const AUTO: Speculation = Speculation { lookup: true, model: true, ..Speculation::OFF };
}
