//! Batches: files of requests, one a line, that are answered together and in order.
//!
//! The program `verbatim batch` and the Batch API share this; it knows nothing of HTTP or of
//! endpoints. Whoever runs a batch brings an [`Answerer`](answerer::Answerer), and gets the same
//! bytes however often the batch is interrupted and goes on.
//!
//! * [`lines`]: the lines of a file, bounded. [`answerer`]: what is asked of whoever answers one.
//!   [`entry`]: a line of an output.
//! * [`input`]: a file's lines as tasks, in order. [`journal`]: an output that may have been cut.
//!   [`resume`]: how far the outputs have come with the input.
//! * [`run`]: tasks to entries, many in flight, written in order. [`slots`]: the places that
//!   batches share which run side by side.
//! * [`object`]: files and batches as the API shows them. [`folder`]: where they are kept.
//!   [`error`]: why something cannot be done with them. [`batches`], [`files`]: what can be done.
//!   `state`: what is known of them, and each owner's share.
//! * [`worker`]: the threads that run batches. [`turns`]: whose turn it is.
//!
//! ```text
//! file ──► lines ──► input ──► run: many answerers at once ──► in order ──► journal
//!                      ▲                                                      │ after kill -9
//!                      └────────────────────── resume ◄───────────────────────┘
//! ```
pub mod answerer;
pub mod batches;
pub mod entry;
pub mod error;
pub mod files;
pub mod folder;
pub mod input;
pub mod journal;
pub mod lines;
pub mod object;
pub mod resume;
pub mod run;
pub mod slots;
mod state;
pub mod turns;
pub mod worker;
