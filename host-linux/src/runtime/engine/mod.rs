//! The thread that owns the engine, who watches it, and how callers talk to it.
//!
//! * `messages`: commands to the engine thread, and the [`TokenEvent`]s that come back.
//! * `handle`: starting an engine, and sending it commands.
//! * `shared`: gauges (a `snapshot`), what is measured (`stats`), `step_clock` (the step that runs
//!   now) and `condition` (whether the engine runs), which all handles read.
//! * `view`: a copy of sequences, blocks and steps (`step_view`) for those who watch, as often as
//!   `view_pace` says; `waits`: how long choices have waited.
//! * `thread`: the loop that runs the engine's steps. `pooling`: hidden states that it gathers.
//!   `masks`: what choices may draw whose output is to have a form.
//! * `supervisor`: the thread that watches that loop and starts it again after a panic, as often as
//!   `restarts` grants. [`EngineNotice`]s tell of it.
//!
//! ```text
//!  supervisor thread ── makes ──► engine thread: arena, engine, runner ── events ──► callers
//!      │    ▲                          │      ▲
//!      │    └── ended, or panicked ────┘      └── commands, which outlive the thread ── callers
//!      ├── panicked: tells the requests that ran or waited, then makes the next one
//!      └── a step is overdue: says so
//! ```
mod condition;
mod handle;
mod masks;
mod messages;
mod notice;
mod pooling;
mod restarts;
mod shared;
mod snapshot;
mod stats;
mod step_clock;
mod step_view;
mod supervisor;
mod thread;
mod view;
mod view_pace;
mod waits;

pub use handle::{EngineHandle, EngineWatch};
pub use messages::{Ticket, TokenEvent, TokenEventKind};
pub use notice::EngineNotice;
pub use snapshot::EngineGauges;
pub use stats::{EngineStats, StepClass};
pub use step_clock::RunningStep;
pub use step_view::StepView;
pub use view::{EngineView, LiveSequence};
