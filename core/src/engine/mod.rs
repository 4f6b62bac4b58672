//! The engine: requests in, rows planned, steps executed, events out. It owns no clock and no thread.
//!
//! A step computes **rows**: one token of one sequence at one position each. Which rows a step has is the only
//! thing that batching, chunked prefill, preemption, resuming and speculation differ in, and no result depends
//! on it.
//!
//! ```text
//! let id = engine.submit(&request)?;               // commands: submit, cancel
//! while let Some(plan) = engine.plan(budget) {     // which rows the next step has
//!     for row in engine.rows(plan) { … }           // the host may make masks for rows that sample
//!     for event in engine.execute(plan, &masks, &pool, &mut observer) { … }
//! }
//! ```
//!
//! Several small machines: [`request`] (what was asked), `sequence` (one choice's tokens and state),
//! `admission` (who may start), `schedule` (rows of the next step), `step` (running them), [`event`].
pub mod event;
pub mod limits;
pub mod request;

pub use event::{Event, EventKind, FinishReason};
pub use limits::EngineLimits;
pub use request::{Refusal, Request, RequestId};
