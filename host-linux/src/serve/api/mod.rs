//! The endpoints: one file each for what a client sends and what it gets.
//!
//! * [`completions`], [`chat`], [`models`], [`health`], [`metrics`]: the endpoints.
//! * [`dialect`]: what an endpoint that generates adds to [`answer`], which runs the generation and
//!   sends it, whole or as events.
//! * [`params`]: the parameters that generating endpoints share. [`names`]: which parameters are
//!   known and which are refused. [`fields`]: typed readers of a JSON object.
//! * [`limits`]: what a request may ask for. `json_limits`: how large its JSON may be.
pub mod answer;
pub mod chat;
pub mod completions;
pub mod dialect;
pub mod fields;
pub mod health;
mod json_limits;
pub mod limits;
pub mod metrics;
pub mod models;
pub mod names;
pub mod params;
