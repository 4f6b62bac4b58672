//! The thread that owns the engine, and how callers talk to it.
//!
//! * `messages`: commands to the thread, and the [`TokenEvent`]s that come back.
//! * `handle`: starting the thread, and sending it commands.
//! * `shared`: gauges, and why the thread stopped.
//! * `thread`: the loop that runs the engine's steps.
mod handle;
mod messages;
mod shared;
mod thread;

pub use handle::EngineHandle;
pub use messages::{TokenEvent, TokenEventKind};
pub use shared::EngineGauges;
