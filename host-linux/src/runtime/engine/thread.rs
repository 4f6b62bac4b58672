//! The loop of the thread that owns the engine.
//!
//! Callers send it commands; it sends each request's events to its caller's queue. That never
//! blocks it: a request has no more events than tokens, and a few. A queue whose reader is gone
//! cancels its requests. The thread never touches a socket. While there is nothing to do it sleeps
//! on the command queue.
use super::masks::{Advance, Key, Masks};
use super::messages::{Command, Readers, Ticket, TokenEventKind};
use super::pooling::PooledPrompts;
use super::shared::{Shared, gauges_of};
use super::step_view::Allowed;
use super::view::Viewer;
use crate::faults::{self, Point};
use crate::runtime::error::EngineError;
use crate::runtime::pacing::costs::{Costs, StepRows};
use crate::runtime::pacing::step_budget::StepBudget;
use crate::runtime::pacing::unreported::Unreported;
use crate::runtime::supervision::Supervision;
use crate::runtime::{LoadedDraftModel, OwnedRequest, ServedModel};
use crate::sys::memory::AlignedMemory;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Instant;
use verbatim_core::engine::{AUTO_ROWS_MAX, Budget, Counters, Engine, PlanId, Refusal, RequestId, StepKind};
use verbatim_core::engine::{Event, Masks as RowMasks};
use verbatim_core::model::{CpuRunner, Runner};

/// What an engine thread works with and does not own.
pub(super) struct Surroundings<'s> {
    /// The number of the engine, 0 for the first.
    pub(super) number: u64,
    /// What the engines before it have done.
    pub(super) before: Counters,
    pub(super) model: &'s ServedModel,
    /// Milliseconds that a step should take at most; 0 is no bound.
    pub(super) step_ms: u64,
    pub(super) supervision: &'s Supervision,
    pub(super) shared: &'s Shared,
}

/// Makes an engine in memory of its own, calls `on_ready`, and runs until told to stop. `readers`
/// are those of the requests that it has and has not finished: after a panic, whoever lent them
/// finds them there.
pub(super) fn run(
    with: &Surroundings<'_>,
    inbox: &Receiver<Command>,
    readers: &mut HashMap<RequestId, Readers>,
    on_ready: &dyn Fn(),
) -> Result<(), EngineError> {
    let model = with.model;
    let bytes = model.plan.total_bytes();
    let mut memory = AlignedMemory::new(bytes).map_err(|error| EngineError::Memory { bytes, error })?;
    let draft = model.draft_model.as_ref().map(LoadedDraftModel::model);
    let (engine, runner) = Engine::on_cpu_with_draft_model(
        model.loaded.model(),
        draft,
        model.limits,
        model.isa,
        &model.pool,
        memory.as_mut_slice(),
    )
    .map_err(EngineError::Plan)?;
    on_ready();
    let mut running = EngineLoop {
        with,
        engine,
        runner,
        readers,
        budget: StepBudget::new(with.step_ms),
        costs: Costs::default(),
        unreported: Unreported::default(),
        pooled: PooledPrompts::default(),
        masks: Masks::new(model.loaded.model().config().vocab_size),
        viewer: Viewer::new(&with.shared.views, with.number),
    };
    while running.obey_all(inbox) {
        running.step();
    }
    Ok(())
}

/// The engine, who reads of its requests, and what was measured of its steps.
struct EngineLoop<'r, 'a> {
    with: &'r Surroundings<'r>,
    engine: Engine<'a>,
    /// Computes the engine's steps.
    runner: CpuRunner<'a>,
    readers: &'r mut HashMap<RequestId, Readers>,
    budget: StepBudget,
    costs: Costs,
    /// Steps of which the budget was not told yet.
    unreported: Unreported,
    /// Prompts whose hidden states are gathered.
    pooled: PooledPrompts,
    /// Choices whose draws are bounded.
    masks: Masks,
    /// Shows all this to those who watch.
    viewer: Viewer<'r>,
}

impl EngineLoop<'_, '_> {
    /// Obeys all commands that have come; waits for one while there is nothing to do. `false` if
    /// the thread is to end.
    fn obey_all(&mut self, inbox: &Receiver<Command>) -> bool {
        self.with.shared.store_gauges(&self.engine, &self.with.before);
        self.viewer.touch();
        self.show();
        let status = self.engine.status();
        if status.running + status.waiting == 0 {
            let Some(command) = self.await_command(inbox) else { return false };
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

    /// Waits for a command. Before it sleeps for long, those who watch see that nothing runs.
    fn await_command(&mut self, inbox: &Receiver<Command>) -> Option<Command> {
        loop {
            let Some(wait) = self.viewer.wait(Instant::now()) else { return inbox.recv().ok() };
            match inbox.recv_timeout(wait) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => self.show(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Shows what the engine does to those who watch, if it is time.
    fn show(&mut self) {
        let Self { with, engine, readers, viewer, .. } = self;
        viewer.show(engine, readers, || gauges_of(engine, &with.before));
    }

    /// Obeys a command; `false` if that is to stop.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Submit { request, readers, reply } => self.submit(&request, readers, &reply),
            Command::Close { ticket, choice } if self.is_mine(ticket) => self.close(ticket.request, choice),
            Command::Cancel(ticket) if self.is_mine(ticket) => self.cancel(ticket.request),
            // What another engine had ended with it.
            Command::Close { .. } | Command::Cancel(_) => {}
            // It is shown before the next wait.
            Command::Show => self.viewer.touch(),
            Command::Stop => return false,
        }
        true
    }

    /// Whether a ticket is of this engine, and not of one before it.
    fn is_mine(&self, ticket: Ticket) -> bool {
        ticket.engine == self.with.number
    }

    fn submit(
        &mut self,
        request: &OwnedRequest,
        readers: Readers,
        reply: &SyncSender<Result<Ticket, Refusal>>,
    ) {
        faults::point(Point::Submit);
        let result = self.engine.submit(&request.borrow());
        if let Ok(id) = result {
            self.readers.insert(id, readers);
            self.pooled.begin(id, request);
            self.masks.submitted(id, request, &self.with.model.tokenizer);
        }
        let engine = self.with.number;
        if reply.send(result.map(|request| Ticket { engine, request })).is_err()
            && let Ok(id) = result
        {
            self.cancel(id);
        }
    }

    fn close(&mut self, request: RequestId, choice: usize) {
        if let Entry::Occupied(mut readers) = self.readers.entry(request) {
            if let Some(choice) = readers.get_mut().close(choice) {
                self.engine.cancel_choice(request, choice);
                self.masks.ended((request, choice));
            }
            if readers.get().are_done() {
                readers.remove();
            }
        }
    }

    fn cancel(&mut self, request: RequestId) {
        self.engine.cancel(request);
        self.masks.cancelled(request);
        self.readers.remove(&request);
    }

    /// Plans and runs a step, hands on what came of it, and notes how long it took.
    fn step(&mut self) {
        let Surroundings { model, shared, supervision, .. } = self.with;
        self.engine.set_speculation(self.costs.of(model.speculation));
        let allowed =
            Allowed { rows: self.budget.rows(self.engine.status().running), time: self.budget.target() };
        let Some(plan) = self.plan(Budget { rows: allowed.rows }) else { return };
        let rows = StepRows::of(&self.engine, plan);
        let start = Instant::now();
        let watched = shared.steps.begin(plan.kind, rows.count, supervision.step_limit(allowed.time));
        faults::point(if plan.kind == StepKind::Draft { Point::Draft } else { Point::Step });
        // The plan is the latest and the pool the one that the engine was sized for.
        let masks = self.masks.rows();
        let masks = RowMasks { rows: &masks };
        let events = self.engine.execute(plan, masks, &mut self.runner, &model.pool, &mut self.pooled);
        let Ok(events) = events else { return };
        let readers = &mut *self.readers;
        let of = |event: Event<'_>| {
            if let Some(readers) = readers.get_mut(&event.request) {
                readers.note_waits(event.choice, &event.kind, start);
            }
            Some((event.request, event.choice, TokenEventKind::of(event.kind)?))
        };
        let events: Vec<_> = events.filter_map(of).collect();
        drop(watched);
        // Before the events, so that whoever has the last of them can read what it took.
        shared.store_gauges(&self.engine, &self.with.before);
        let end = Instant::now();
        shared.stats.note_step(&rows, end - start);
        let counters = self.engine.counters().plus(&self.with.before);
        let number = counters.steps + counters.draft_steps;
        self.viewer.note_step(number, &rows, (end - start, end), allowed);
        let abandoned = self.hand_on(events, start..end);
        let took = start.elapsed();
        // A step is waited for in its head; only a synchronous runner has computed one without.
        let is_waited_for = rows.samples > 0 || self.runner.is_synchronous();
        if is_waited_for {
            self.costs.note(&rows, took);
        }
        self.unreported.add(plan.kind, rows.count, took);
        if plan.kind == StepKind::Target && is_waited_for {
            let (count, took) = self.unreported.take();
            self.budget.note(count, rows.is_decode(), took);
        }
        for request in abandoned {
            self.cancel(request);
        }
        self.look_ahead();
    }

    /// Plans a step and makes its masks. Choices that turn out to be complete, such as one that was
    /// resumed at its end, are ended, and the step is planned without them.
    fn plan(&mut self, budget: Budget) -> Option<PlanId> {
        loop {
            let plan = self.engine.plan(budget)?;
            let complete = self.masks.make(&self.engine, plan, &self.with.model.pool);
            if complete.is_empty() {
                return Some(plan);
            }
            complete.into_iter().for_each(|key| self.complete(key));
        }
    }

    /// Ends choices whose grammars are complete, and proposes the tokens that grammars force. All
    /// of these together make a step no longer than other draft tokens may.
    fn look_ahead(&mut self) {
        let advances = self.masks.advance(&self.with.model.pool);
        let are_forced = |advance: &&(Key, Advance)| matches!(advance.1, Advance::Forced(_));
        let each = AUTO_ROWS_MAX / advances.iter().filter(are_forced).count().max(1);
        let mut left = AUTO_ROWS_MAX;
        for (key, advance) in advances {
            match advance {
                Advance::Complete => self.complete(key),
                Advance::Forced(tokens) => {
                    let count = tokens.len().min(each.max(1)).min(left);
                    left -= self.engine.propose(key.0, key.1, &tokens[..count]);
                }
            }
        }
    }

    /// Ends a choice whose output is complete.
    fn complete(&mut self, (request, choice): Key) {
        self.engine.cancel_choice(request, choice);
        let now = Instant::now();
        for abandoned in self.hand_on(vec![(request, choice, TokenEventKind::Complete)], now..now) {
            self.cancel(abandoned);
        }
    }

    /// Sends the events of a step to their readers; returns the requests whose readers are gone.
    fn hand_on(
        &mut self,
        events: Vec<(RequestId, u32, TokenEventKind)>,
        step: Range<Instant>,
    ) -> Vec<RequestId> {
        let mut abandoned = Vec::new();
        let stats = &self.with.shared.stats;
        for (request, choice, kind) in events {
            let kind = self.bounded(request, choice, kind);
            if let Entry::Occupied(mut readers) = self.readers.entry(request) {
                let mut at = step.end;
                match kind {
                    TokenEventKind::Admitted { cached_tokens } => {
                        at = step.start;
                        // One that was preempted may have more in the cache than its prompt.
                        stats.prefix_queries.add(readers.get().prompt_tokens.max(cached_tokens));
                        stats.prefix_hits.add(cached_tokens);
                    }
                    TokenEventKind::Token { .. } => stats.tokens.add(1),
                    TokenEventKind::PromptLogprob { .. }
                    | TokenEventKind::Finished(_)
                    | TokenEventKind::Complete
                    | TokenEventKind::EngineLost => {}
                }
                if !readers.get_mut().send(choice, kind, at) {
                    abandoned.push(request);
                }
                if readers.get().are_done() {
                    readers.remove();
                }
            }
        }
        abandoned
    }
    /// Notes what an event means for a choice whose draws are bounded; one whose grammar is
    /// complete ends with that, whatever else would end it.
    fn bounded(&mut self, request: RequestId, choice: u32, kind: TokenEventKind) -> TokenEventKind {
        let key = (request, choice);
        let mut kind = kind;
        match kind {
            TokenEventKind::Token { token, .. } => self.masks.note(key, token),
            TokenEventKind::Finished(reason) => {
                if self.masks.is_complete(key, reason) {
                    kind = TokenEventKind::Complete;
                }
                self.masks.ended(key);
            }
            TokenEventKind::Complete => self.masks.ended(key),
            TokenEventKind::Admitted { .. }
            | TokenEventKind::PromptLogprob { .. }
            | TokenEventKind::EngineLost => {}
        }
        kind
    }
}
