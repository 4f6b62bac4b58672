//! The Linux host of `verbatim-core`: a library, and the binary `verbatim`.
//!
//! Lowest first; a module imports only from those above it:
//! * [`faults`]: panics on purpose, for tests; a release has none.
//! * [`sys`]: calls to the operating system and the worker pool, and the only `unsafe` code.
//! * [`load`]: from a checkpoint or an image file to a packed model.
//! * [`measure`]: how fast a model is beside what the machine can do.
//! * [`text`]: between strings and token ids.
//! * [`hub`]: models fetched from the Hugging Face Hub, and its cache.
//! * [`doctor`]: what a machine offers a server, and what stands in its way.
//! * [`grammar`]: which tokens an output may have whose form a client chose.
//! * [`runtime`]: a model with its engine running, for any program that embeds one.
//! * [`batch`]: files of requests, answered in order, however often that is interrupted.
//! * [`serve`]: the HTTP server.
//! * [`cli`]: the command line. Only here is anything printed, and only here do messages name
//!   flags.
#![deny(unsafe_code)]
// Both panic where nobody reads: `cli/output.rs` prints.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]
pub mod batch;
pub mod cli;
pub mod doctor;
pub mod faults;
pub mod grammar;
pub mod hub;
pub mod load;
pub mod measure;
pub mod runtime;
pub mod serve;
pub mod sys;
pub mod text;
