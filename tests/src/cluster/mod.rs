//! A cluster in simulation: fronts, replicas and clients in virtual time, event by event.
//!
//! ```text
//! clients ─► fronts (core, link, router) ─► replicas (queue, slots, KV blocks, steps)
//!    ▲            │ ▲                            │
//!    └── events ──┘ └──── events, deaths, loads ─┘
//! ```
//!
//! The real engine is tested elsewhere ([`crate::sim`]). Here its *times* are simulated, to learn
//! what up to a thousand replicas would do: a step takes as long as `verbatim-bench` measured, and
//! everything else is a queue. One seed decides everything, in whole numbers, so a run can be
//! repeated on any machine; what must hold of streams is checked at every event.
//!
//! * `dice`, `histogram`: draws, and times by how often each came.
//! * `times`: how long a step takes; `settings`: all that can be chosen.
//! * `blocks`, `sequence`, `engine`, `schedule`: the cache of one replica, what runs there, and
//!   the rows of its steps.
//! * `policy`, `front`, `stream`: who gets a request, what passing it on costs, and what its client
//!   was told.
//! * `load`: what is asked, and when; `script`: the same written down, for a real server.
//! * `world`: all of these, and the queue of events; `asks` and `replicas`: what the events do.
//! * `run`: the loop; `search`: the greatest load that holds.
//! * `outcome`, `report`, `plot`: what a person reads; `arguments`: the flags of `verbatim-sim`.
pub mod arguments;
mod asks;
mod blocks;
mod dice;
mod engine;
mod front;
pub mod histogram;
mod load;
pub mod outcome;
mod plot;
pub mod policy;
mod replicas;
pub mod report;
pub mod run;
mod schedule;
pub mod script;
pub mod search;
mod sequence;
pub mod settings;
mod stream;
pub mod times;
mod world;
