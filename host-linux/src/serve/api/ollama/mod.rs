//! Ollama's own API, for clients that know no other: `/api/chat`, `/api/generate`, vectors, and
//! what it tells of models.
//!
//! Models are called by their name, with `:latest` behind it or not. How tokens are drawn by
//! default is the model's own affair, as at the other endpoints.
//!
//! * [`chat`], [`generate`]: the dialects. `options`, `reading`: what both read. `output`: answers.
//! * [`embed`]: vectors. [`library`]: what is told of the model. `time`: dates as clients read
//!   them.
pub mod chat;
pub mod embed;
pub mod generate;
pub mod library;
mod options;
mod output;
mod reading;
#[cfg(test)]
mod tests;
mod time;
