//! The endpoints: one file each for what a client sends and what it gets.
//!
//! * [`completions`], [`chat`], [`models`], [`health`], [`metrics`]: the endpoints.
//! * [`messages`], [`responses`], [`ollama`]: other APIs, which [`chat`] reads by `translation`;
//!   `blocks`: an answer as a row of what it is made of.
//! * [`embeddings`], [`rerank`]: texts as vectors, and how near they are; `vectors` makes them.
//! * [`tokenize`], [`version`], [`load`]: what is asked beside them. [`dashboard`]: what is watched
//!   live.
//! * [`dialect`]: what an endpoint that generates adds to [`answer`], which runs the generation and
//!   sends it, whole or as events.
//! * [`files`], [`batches`]: what is answered when there is time, by [`lines`]. `multipart`: forms.
//! * `body`: reading a body in turn. [`params`]: the parameters that generating endpoints share.
//!   [`parameters`]: the table of all parameters, by which bodies are checked; [`openapi`] tells it
//!   to programs. [`fields`]: typed readers of a JSON object. [`query`]: parameters in a URL.
//! * [`prompt`]: a conversation as a prompt. [`tools`]: the functions that it offers.
//! * `asked`: what completions and chat read alike: `shown`, `forbidden`, `resume`; `runs`: the
//!   requests that come of it. `fingerprint`: the model as a condition.
//! * [`limits`]: what a request may ask for. `json_limits`: how large its JSON may be.
pub mod answer;
#[cfg(test)]
mod api_doc;
pub mod asked;
pub mod batches;
mod blocks;
mod body;
pub mod chat;
pub mod completions;
pub mod constraint;
pub mod dashboard;
pub mod dialect;
pub mod embeddings;
pub mod fields;
pub mod files;
pub mod fingerprint;
pub mod forbidden;
pub mod health;
mod json_limits;
pub mod limits;
pub mod lines;
pub mod load;
pub mod messages;
pub mod metrics;
pub mod models;
mod multipart;
pub mod ollama;
pub mod openapi;
pub mod parameters;
pub mod params;
#[cfg(test)]
mod played;
pub mod prompt;
pub mod query;
pub mod rerank;
pub mod responses;
pub mod resume;
pub mod runs;
pub mod shown;
pub mod tokenize;
pub mod tools;
mod translation;
mod vectors;
pub mod version;
