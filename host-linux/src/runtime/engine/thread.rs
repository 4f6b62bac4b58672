//! The thread that owns the engine.
//!
//! Callers send it commands; it sends each request's events to its caller's queue. That never
//! blocks it: a request has no more events than tokens, and a few. A queue whose reader is gone
//! cancels its requests. The thread never touches a socket. While there is nothing to do it sleeps
//! on the command queue.
use super::messages::{Command, Readers, TokenEventKind};
use super::shared::Shared;
use crate::runtime::error::EngineError;
use crate::runtime::pacing::costs::{Costs, StepRows};
use crate::runtime::pacing::step_budget::StepBudget;
use crate::runtime::{LoadedDraftModel, OwnedRequest, ServedModel};
use crate::sys::memory::AlignedMemory;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};
use verbatim_core::engine::{Budget, Engine, Masks, Refusal, RequestId, StepKind};
use verbatim_core::model::CpuRunner;

/// Builds the engine, says whether that succeeded, and runs until told to stop.
pub(super) fn run(
    model: &ServedModel,
    step_ms: u64,
    inbox: &Receiver<Command>,
    ready: &SyncSender<Result<(), EngineError>>,
    shared: &Shared,
) {
    let bytes = model.plan.total_bytes();
    let mut memory = match AlignedMemory::new(bytes) {
        Ok(memory) => memory,
        Err(error) => {
            let _ = ready.send(Err(EngineError::Memory { bytes, error }));
            return;
        }
    };
    let draft = model.draft_model.as_ref().map(LoadedDraftModel::model);
    let engine = Engine::on_cpu_with_draft_model(
        model.loaded.model(),
        draft,
        model.limits,
        model.isa,
        &model.pool,
        memory.as_mut_slice(),
    );
    let (engine, runner) = match engine {
        Ok(engine) => engine,
        Err(error) => {
            let _ = ready.send(Err(EngineError::Plan(error)));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut running = EngineLoop {
        model,
        engine,
        runner,
        shared,
        readers: HashMap::new(),
        budget: StepBudget::new(step_ms),
        costs: Costs::default(),
        drafting: Duration::ZERO,
    };
    let _note = shared.note_panic();
    while running.obey_all(inbox) {
        running.step();
    }
}

/// The engine, who reads of its requests, and what was measured of its steps.
struct EngineLoop<'r, 'a> {
    model: &'r ServedModel,
    engine: Engine<'a>,
    /// Computes the engine's steps.
    runner: CpuRunner<'a>,
    shared: &'r Shared,
    readers: HashMap<RequestId, Readers>,
    budget: StepBudget,
    costs: Costs,
    /// Time spent on drafts since the last step of the served model. They are part of the step that
    /// verifies them: no token comes before it.
    drafting: Duration,
}

impl EngineLoop<'_, '_> {
    /// Obeys all commands that have come; waits for one while there is nothing to do. `false` if
    /// the thread is to end.
    fn obey_all(&mut self, inbox: &Receiver<Command>) -> bool {
        self.shared.store_gauges(&self.engine);
        let status = self.engine.status();
        if status.running + status.waiting == 0 {
            let Ok(command) = inbox.recv() else { return false };
            if !self.obey(command) {
                return false;
            }
        }
        while let Ok(command) = inbox.try_recv() {
            if !self.obey(command) {
                return false;
            }
        }
        true
    }

    /// Obeys a command; `false` if that is to stop.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Submit { request, readers, reply } => self.submit(&request, readers, &reply),
            Command::Close { request, choice } => self.close(request, choice),
            Command::Cancel(request) => self.cancel(request),
            Command::Stop => return false,
        }
        true
    }

    fn submit(
        &mut self,
        request: &OwnedRequest,
        readers: Readers,
        reply: &SyncSender<Result<RequestId, Refusal>>,
    ) {
        let result = self.engine.submit(&request.borrow());
        if let Ok(id) = result {
            self.readers.insert(id, readers);
        }
        if reply.send(result).is_err()
            && let Ok(id) = result
        {
            self.cancel(id);
        }
    }

    fn close(&mut self, request: RequestId, choice: usize) {
        if let Entry::Occupied(mut readers) = self.readers.entry(request) {
            if let Some(choice) = readers.get_mut().close(choice) {
                self.engine.cancel_choice(request, choice);
            }
            if readers.get().are_done() {
                readers.remove();
            }
        }
    }

    fn cancel(&mut self, request: RequestId) {
        self.engine.cancel(request);
        self.readers.remove(&request);
    }

    /// Plans and runs a step, hands on what came of it, and notes how long it took.
    fn step(&mut self) {
        self.engine.set_speculation(self.costs.of(self.model.speculation));
        let rows = self.budget.rows(self.engine.status().running);
        let Some(plan) = self.engine.plan(Budget { rows }) else { return };
        let rows = StepRows::of(&self.engine, plan);
        let start = Instant::now();
        // The plan is the latest and the pool the one that the engine was sized for.
        let events = self.engine.execute(plan, Masks::NONE, &mut self.runner, &self.model.pool, &mut ());
        let Ok(events) = events else { return };
        let of = |event: verbatim_core::engine::Event<'_>| {
            Some((event.request, event.choice, TokenEventKind::of(event.kind)?))
        };
        let events: Vec<_> = events.filter_map(of).collect();
        // Before the events, so that whoever has the last of them can read what it took.
        self.shared.store_gauges(&self.engine);
        let abandoned = self.hand_on(events);
        let took = start.elapsed();
        self.costs.note(&rows, took);
        self.drafting += took;
        if plan.kind == StepKind::Target {
            self.budget.note(rows.count, rows.is_decode(), std::mem::take(&mut self.drafting));
        }
        for request in abandoned {
            self.cancel(request);
        }
    }

    /// Sends events to their readers; returns the requests whose readers are gone.
    fn hand_on(&mut self, events: Vec<(RequestId, u32, TokenEventKind)>) -> Vec<RequestId> {
        let mut abandoned = Vec::new();
        for (request, choice, kind) in events {
            if let Entry::Occupied(mut readers) = self.readers.entry(request) {
                if !readers.get_mut().send(choice, kind) {
                    abandoned.push(request);
                }
                if readers.get().are_done() {
                    readers.remove();
                }
            }
        }
        abandoned
    }
}
