//! One request from start to end: a thin loop over the engine, for callers with a single request.
use super::Engine;
use super::event::{Event, EventKind};
use super::request::{Refusal, Request};
use super::schedule::Budget;
use super::step::{Masks, Observer, StepError};
use crate::model::Runner;
use crate::pool::Pool;
use core::ops::ControlFlow;

/// Why [`Engine::generate`] ended early.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GenerateError {
    /// The engine refused the request.
    Refused(Refusal),
    /// A step of the request could not run.
    Step(StepError),
}

impl core::fmt::Display for GenerateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Step(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GenerateError {}

impl Engine<'_> {
    /// Runs a request to its end. `on_event` gets its events, and ends it early by returning
    /// `Break`. Events of other requests that run meanwhile are dropped: use the loop of the
    /// module's doc to serve several.
    pub fn generate(
        &mut self,
        request: &Request<'_>,
        runner: &mut dyn Runner,
        pool: &dyn Pool,
        on_event: &mut dyn FnMut(&Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        self.generate_observed(request, runner, pool, &mut (), on_event)
    }

    /// Runs a request to its end like [`Engine::generate`], with an observer of what rows yield
    /// besides events.
    pub fn generate_observed(
        &mut self,
        request: &Request<'_>,
        runner: &mut dyn Runner,
        pool: &dyn Pool,
        observer: &mut dyn Observer,
        on_event: &mut dyn FnMut(&Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        let id = self.submit(request).map_err(GenerateError::Refused)?;
        let mut left = request.choices;
        while left > 0 {
            let Some(plan) = self.plan(Budget::UNLIMITED) else { break };
            let events =
                self.execute(plan, Masks::NONE, runner, pool, observer).map_err(GenerateError::Step)?;
            let mut broke = false;
            for event in events.filter(|event| event.request == id) {
                left -= u32::from(matches!(event.kind, EventKind::Finished(_)));
                broke |= on_event(&event).is_break();
            }
            if broke {
                self.cancel(id);
                break;
            }
        }
        Ok(())
    }
}
