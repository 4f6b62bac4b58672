//! The simulator: one seed makes a workload, runs the real engine on a small real model in virtual
//! time, and checks after every step that nothing the engine did changed one bit of an answer.
//!
//! ```text
//! seed ──► options ──► world (engine, pool, models)
//!      └─► workload ─► requests ──► run ──► checks ──► report
//!                         └──────► oracle: each request alone ─┘
//! ```
//!
//! * [`rng`]: numbers from (seed, stream, index), so that a draw never depends on what else was
//!   drawn.
//! * [`options`]: what a seed decides once: formats, limits, pool, instruction set; features that a
//!   replay can switch off.
//! * [`workload`]: what it decides for each request; [`grammar`]: masks as a function of the tokens
//!   before them; [`vocabulary`]: real grammars, and words for the ids that they are about.
//! * [`world`]: the models, built once a process, and the memory and pools of a run.
//! * [`ask`]: what decides a request's answer.
//! * [`answer`]: all bits that a request gets to see; [`oracle`]: those that it gets alone.
//! * [`checks`]: what holds after every step. [`coverage`]: which events a run reached.
//! * Steps are computed by the CPU's runner or by a [`Late`](crate::late::Late) one, which may be
//!   lost: the same events, and who is cut short goes on elsewhere to the same bits.
//! * [`run`]: the loop. [`shrink`]: from a failing seed to a small one. [`report`]: what a person
//!   reads.
//! * `hunt`: switches planted bugs on, in a build that has them ([`crate::mutants`]).
pub mod answer;
pub mod ask;
pub mod checks;
pub mod coverage;
pub mod grammar;
#[cfg(mutants)]
pub mod hunt;
pub mod options;
pub mod oracle;
pub mod report;
pub mod rng;
pub mod run;
pub mod shrink;
pub mod vocabulary;
pub mod workload;
pub mod world;
