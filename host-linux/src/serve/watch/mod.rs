//! What is told of a running server: metrics and the log.
//!
//! * [`metrics`]: the numbers that requests and connections leave behind; [`labelled`] counters.
//! * [`families`]: every metric by name, with its meaning and where its numbers come from;
//!   docs/metrics.md is made from it. [`text`]: the format in which Prometheus reads them.
//! * [`log`]: one line a request, and notices, as text or JSON. [`sink`]: the file or stream that
//!   they go to. [`options`]: what whoever starts the server decides of it. [`tail`]: the latest
//!   lines, for those who watch.
#[cfg(test)]
mod docs;
pub mod families;
pub mod labelled;
pub mod log;
pub mod metrics;
pub mod options;
pub mod sink;
pub mod tail;
pub mod text;
