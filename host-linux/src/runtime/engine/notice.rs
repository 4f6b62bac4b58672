//! What happened to an engine while it was watched.
use super::step_clock::RunningStep;
use crate::runtime::error::EngineFailure;
use std::time::Duration;
use verbatim_core::engine::StepKind;

/// Something that happened to an engine which its operator should know. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineNotice {
    /// It panicked and was started again. What ran and waited was ended with an error.
    Restarted {
        /// What the panic said.
        panic: String,
        /// How often it was started again since the beginning.
        restarts: u64,
        /// From the end of the old engine to the new one's readiness.
        took: Duration,
        /// Requests that were ended by it.
        requests: usize,
    },
    /// A step has run longer than it may, and goes on.
    StepOverdue(RunningStep),
    /// It has ended for good, though nobody asked it to.
    Failed(EngineFailure),
}

impl std::fmt::Display for EngineNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restarted { panic, restarts, took, requests } => write!(
                f,
                "the engine panicked ({panic}) and was restarted within {:.1} ms, for the {restarts}. time; \
                 {requests} requests were ended and can be sent again",
                took.as_secs_f64() * 1e3
            ),
            Self::StepOverdue(step) => {
                let model = match step.kind {
                    StepKind::Target => "the model",
                    StepKind::Draft => "the draft model",
                };
                write!(
                    f,
                    "a step of {model} with {} rows has taken {:.1} s so far; {:.1} s was the limit. Until it ends the \
                     server is not well; the usual cause is other programs on its cores",
                    step.rows,
                    step.age.as_secs_f64(),
                    step.limit.as_secs_f64()
                )
            }
            Self::Failed(failure) => std::fmt::Display::fmt(failure, f),
        }
    }
}
