//! How fast a model is, beside what the machine can do.
//!
//! * [`speed`]: a model's prefill and decode, timed. [`machine`]: what the machine can do at most.
//! * [`probe`]: both within a bound of time. [`bound`]: what bounds the model, and what other
//!   weight formats would give.
pub mod bound;
pub mod machine;
pub mod probe;
pub mod speed;
