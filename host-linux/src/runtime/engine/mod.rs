//! The thread that owns the engine, and how callers talk to it.
//!
//! * `messages`: commands to the thread, and the [`TokenEvent`]s that come back.
//! * `handle`: starting the thread, and sending it commands.
//! * `thread`: the loop that runs the engine's steps.
mod handle;
mod messages;
mod thread;

pub use handle::{EngineGauges, EngineHandle};
pub use messages::{TokenEvent, TokenEventKind};
