//! The endpoints: one file each for what a client sends and what it gets.
//!
//! * [`completions`], [`chat`], [`models`], [`health`]: the endpoints.
//! * [`dialect`]: what an endpoint that generates adds to [`answer`], which runs the generation and
//!   sends it, whole or as events.
//! * [`params`]: the parameters that generating endpoints share. [`names`]: which parameters are
//!   known and which are refused. [`fields`]: typed readers of a JSON object.
pub mod answer;
pub mod chat;
pub mod completions;
pub mod dialect;
pub mod fields;
pub mod health;
pub mod models;
pub mod names;
pub mod params;
