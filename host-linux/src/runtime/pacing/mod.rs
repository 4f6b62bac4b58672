//! How much work goes into a step, from measured steps. It changes when tokens are computed, never
//! which.
//!
//! * `step_budget`: rows of a step, so that running streams do not wait long.
//! * `unreported`: steps that count together, since only the last of them was waited for.
//! * [`costs`]: what draft tokens cost on this machine.
pub mod costs;
pub(super) mod step_budget;
pub(super) mod unreported;
