//! The loop: in each turn requests arrive and leave, a step is planned and executed, and everything
//! is checked.
use super::answer::{Answer, Watch};
use super::checks::{Key, Running, Text, Texts, Waiting, check_engine, check_tables};
use super::coverage::{Class, Coverage};
use super::grammar::{Followed, Grammar, mask_words};
use super::options::{Feature, Options, Over, Setup, TWO_SPLITS};
use super::oracle::Oracle;
use super::rng::{Rng, Stream, fold};
use super::workload::{Cancel, Spec, Workload};
use super::world::{self, Margins, Memory, VOCAB};
use crate::late::{Late, LateSetup, Scribbler};
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use verbatim_core::cache::{BLOCK, BlockId};
use verbatim_core::engine::{
    Budget, Engine, Event, EventKind, FinishReason, Masks, MemoryPlan, PlanId, PlannedRow, Refusal,
    RequestId, StepError, StepKind,
};
use verbatim_core::model::{DraftModel, RowOutput, Runner};
use verbatim_core::pool::Pool;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Steps, those of a draft model included.
    pub steps: u64,
    /// Rows of all these steps together.
    pub rows: u64,
    /// Requests that were taken.
    pub requests: u64,
    /// Choices that were compared with their solo runs, those that were cut short included.
    pub compared: u64,
    /// Output tokens of all choices together.
    pub tokens: u64,
    /// Steps of solo runs.
    pub oracle_steps: u64,
    /// The sum over steps of live sequences, and of those that ran.
    pub live: u64,
    /// Of those that ran.
    pub running: u64,
    /// The longest wait, in hundredths of what is allowed.
    pub worst_wait_percent: u64,
    /// Whether a context passed two attention splits.
    pub is_long: bool,
    /// Choices that ended with the loss of a device, and were resumed.
    pub lost: u64,
    /// A hash of every event and planned row.
    pub log_hash: u64,
    /// How often each class of events was reached.
    pub coverage: Coverage,
}

/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of the step after which it was found.
    pub step: u64,
    /// What is wrong, for a person to read.
    pub what: String,
}

/// Runs a setup to its end.
pub fn run(setup: &Setup) -> Result<Outcome, Failure> {
    let options = Options::draw(setup);
    let mut outcome = Outcome::default();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        world::with_pool(options.pool, |pool| run_with(setup, &options, pool, &mut outcome))
    }));
    let what = match caught {
        Ok(Ok(())) => return Ok(outcome),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("a panic: {}", text.unwrap_or("of no words"))
        }
    };
    Err(Failure { step: outcome.steps, what })
}

fn run_with(setup: &Setup, options: &Options, pool: &dyn Pool, outcome: &mut Outcome) -> Result<(), String> {
    let model = world::served(options.weights);
    let draft_model = world::draft_model(options.draft_model);
    let size = draft_model.as_ref().map(DraftModel::size);
    let device = match setup.over {
        Over::Cpu => None,
        Over::Late { lost_at } => Some(late(setup, options, lost_at)),
    };
    let plan = match &device {
        None => MemoryPlan::with_draft_model(model.config(), size.as_ref(), &options.limits),
        Some(device) => MemoryPlan::for_runner(&**device, model.config(), size.as_ref(), &options.limits),
    };
    let plan = plan.map_err(|error| error.to_string())?;
    let mut memory = Memory::new(plan.total_bytes());
    let (lent, margins) = memory.parts();
    let (limits, isa) = (options.limits, options.isa);
    let (engine, runner): (_, Box<dyn Runner>) = match device {
        None => {
            let engine = Engine::on_cpu_with_draft_model(model, draft_model, limits, isa, pool, lent);
            let (engine, mut cpu) = engine.map_err(|error| error.to_string())?;
            cpu.kv_bytes_mut().fill(0xff); // every block starts as NaN
            (engine, Box::new(cpu))
        }
        Some(device) => {
            let engine = Engine::over_device(model.config(), size.as_ref(), limits, isa, lent);
            (engine.map_err(|error| error.to_string())?, device)
        }
    };
    let mut run = Run {
        setup,
        options,
        pool,
        margins,
        engine,
        runner,
        oracle: Oracle::new(options),
        workload: Workload::new(setup, options),
        waiting: Waiting::default(),
        watch: Watch::default(),
        specs: HashMap::new(),
        beginnings: HashMap::new(),
        next: 0,
        turn: 0,
        followed: HashMap::new(),
        lost: Vec::new(),
        outcome,
    };
    run.chaos()?;
    run.finish()?;
    run.resume_lost()?;
    let counters = *run.engine.counters();
    run.outcome.coverage.add_counters(&counters, options.draft_model);
    run.outcome.oracle_steps = run.oracle.steps;
    run.outcome.worst_wait_percent = run.waiting.worst_percent;
    Ok(())
}

/// A late runner for a run.
fn late(setup: &Setup, options: &Options, lost_at: Option<u64>) -> Box<dyn Runner> {
    let late = Late::start(&LateSetup {
        image: world::served_image(options.weights),
        draft: world::draft_image(options.draft_model),
        limits: options.limits.runner(),
        isa: options.isa,
        seed: setup.seed,
        lost_at,
    });
    Box::new(Scribbler::new(late))
}

/// A choice whose runner was lost.
struct Lost {
    number: usize,
    spec: Rc<Spec>,
    choice: u32,
    answer: Answer,
}

/// A request that is live.
struct LiveRequest {
    number: usize,
    spec: Rc<Spec>,
    arrived: u64,
    choices_left: u32,
    has_begun: bool,
    /// Its moment to leave, or for a choice of it, is past.
    has_left: bool,
}

struct Run<'a, 'm> {
    setup: &'a Setup,
    options: &'a Options,
    pool: &'a dyn Pool,
    margins: Margins<'m>,
    engine: Engine<'m>,
    runner: Box<dyn Runner + 'm>,
    oracle: Oracle,
    workload: Workload,
    waiting: Waiting,
    watch: Watch,
    specs: HashMap<RequestId, LiveRequest>,
    /// Where the latest sequence with such a beginning had it.
    beginnings: HashMap<[u32; BLOCK], BlockId>,
    /// The next request's number.
    next: usize,
    turn: u64,
    /// How far the constrained choices have come.
    followed: HashMap<Key, Followed>,
    lost: Vec<Lost>,
    outcome: &'a mut Outcome,
}

impl Run<'_, '_> {
    /// The first phase: everything goes wrong that may.
    fn chaos(&mut self) -> Result<(), String> {
        let last = self.setup.only.as_ref().map(|only| only.iter().max().map_or(0, |last| last + 1));
        while self.outcome.steps < self.setup.steps {
            let all_came = last.is_some_and(|last| self.next >= last);
            if all_came && self.specs.is_empty() {
                break;
            }
            let mut rng = Rng::new(self.setup.seed, Stream::Tick, self.turn);
            if self.turn == 0 || rng.percent(2) {
                let speculation = self.options.draw_speculation(&mut rng);
                self.engine.set_speculation(speculation);
            }
            self.forget(&mut rng);
            self.arrive(&mut rng, last)?;
            self.cancel_some(false)?;
            let budget = Budget { rows: self.options.draw_rows(&mut rng) };
            let is_dropping = rng.percent(self.options.drop_percent);
            let dropped = if is_dropping { rng.within(1..=3) } else { 0 };
            let dropped: Vec<Budget> =
                (0..dropped).map(|_| Budget { rows: self.options.draw_rows(&mut rng) }).collect();
            self.turn(budget, &dropped, true)?;
        }
        Ok(())
    }

    /// The last phase: nobody comes or leaves, and everybody is served.
    fn finish(&mut self) -> Result<(), String> {
        let mut left = 100 + 4 * self.waiting.rows_left();
        while !self.specs.is_empty() {
            if left == 0 {
                return Err(format!("faults have stopped, but {} requests do not end", self.specs.len()));
            }
            left -= 1;
            self.turn(Budget::UNLIMITED, &[], false)?;
        }
        match self.engine.plan(Budget::UNLIMITED) {
            None => Ok(()),
            Some(_) => Err("nobody is live, but a step is planned".into()),
        }
    }

    /// Whoever was told that the device is lost goes on elsewhere, to the end and the bits that it
    /// gets alone.
    fn resume_lost(&mut self) -> Result<(), String> {
        for Lost { number, spec, choice, answer } in std::mem::take(&mut self.lost) {
            let generated = [&spec.generated[..], &answer.ids()[..]].concat();
            let resumed = self.oracle.resumed(&spec.ask, choice, &generated);
            let alone = self.oracle.answer(number, &spec.ask, choice);
            resumed
                .compare(&alone, generated.len())
                .map_err(|what| format!("request {number}, choice {choice}, resumed after a loss: {what}"))?;
            self.outcome.lost += 1;
        }
        Ok(())
    }

    /// Now and then the cache loses a block before its turn, a young one or a parent of others.
    fn forget(&mut self, rng: &mut Rng) {
        for (request, _, table) in self.engine.tables() {
            if let (Some(live), Some(block)) = (self.specs.get(&request), table.first())
                && let Some(beginning) = live.spec.ask.prompt.first_chunk()
            {
                self.beginnings.insert(*beginning, *block);
            }
        }
        if rng.percent(self.options.forget_percent) {
            let blocks = self.options.limits.block_count() as BlockId;
            let from = rng.below(blocks as usize) as BlockId;
            let found = (from..blocks).chain(0..from).any(|block| self.engine.forget_block(block));
            self.outcome.coverage.add(Class::Forgotten, u64::from(found));
        }
    }

    /// The cache loses the block with which a text begins, if it has it: what followed it stays,
    /// without a parent, and the next prompt is likely to be computed into that block.
    fn forget_beginning(&mut self, beginning: &[u32; BLOCK]) {
        if let Some(block) = self.beginnings.remove(beginning) {
            let found = self.engine.forget_block(block);
            self.outcome.coverage.add(Class::Forgotten, u64::from(found));
        }
    }

    fn arrive(&mut self, rng: &mut Rng, last: Option<usize>) -> Result<(), String> {
        let live = self.waiting.live_count();
        let is_quiet = self.options.crowd == 1;
        let chance = match live < self.options.crowd {
            true => 60,
            false if is_quiet => 0,
            false => 3,
        };
        let together = if rng.percent(2) && !is_quiet { rng.within(2..=8) } else { 1 };
        let count = if together > 1 || rng.percent(chance) { together } else { 0 };
        for _ in 0..count {
            if last.is_some_and(|last| self.next >= last) {
                break;
            }
            let number = self.next;
            self.next += 1;
            if self.setup.only.as_ref().is_some_and(|only| !only.contains(&number)) {
                continue;
            }
            self.submit(number)?;
        }
        Ok(())
    }

    fn submit(&mut self, number: usize) -> Result<(), String> {
        let spec = self.workload.request(number, &mut self.oracle);
        if let Some(beginning) = &spec.forgets {
            self.forget_beginning(beginning);
        }
        let id = match self.engine.submit(&spec.request()) {
            Ok(id) => id,
            Err(refusal) => return self.check_refusal(&spec, refusal),
        };
        self.outcome.requests += 1;
        self.note(&[1, id.0, number as u64]);
        let end_len = spec.end_len(self.options);
        for choice in spec.first_choice..spec.first_choice + spec.choices {
            self.waiting.submitted((id, choice), end_len, spec.priority);
            self.watch.answers.insert((id, choice), Answer::default());
        }
        let coverage = &mut self.outcome.coverage;
        coverage.add(Class::Resumed, u64::from(!spec.generated.is_empty()));
        coverage.add(Class::PromptOutputs, u64::from(spec.ask.prompt_output != RowOutput::None));
        let choices_left = spec.choices;
        let live =
            LiveRequest { number, spec, arrived: self.turn, choices_left, has_begun: false, has_left: false };
        self.specs.insert(id, live);
        Ok(())
    }

    /// Every request of the workload fits the context; blocks or slots for it there may not be.
    fn check_refusal(&mut self, spec: &Spec, refusal: Refusal) -> Result<(), String> {
        let limits = &self.options.limits;
        let wanted = self.waiting.live_count() + spec.choices as usize;
        match refusal {
            Refusal::KvCapacityExceeded { .. }
                if spec.end_len(self.options) > limits.block_count() * BLOCK =>
            {
                self.outcome.coverage.add(Class::TooLarge, 1);
                Ok(())
            }
            Refusal::QueueFull { .. } if wanted > limits.sequences + limits.queue => {
                self.outcome.coverage.add(Class::Refusals, 1);
                Ok(())
            }
            other => Err(format!("refused: {other}; {spec:?}")),
        }
    }

    /// Cancels those whose moment has come; returns how many choices that were.
    fn cancel_some(&mut self, late: bool) -> Result<usize, String> {
        let mut leaving: Vec<(RequestId, usize)> = Vec::new();
        for (id, live) in &self.specs {
            let tokens = (live.spec.first_choice..live.spec.first_choice + live.spec.choices)
                .filter_map(|choice| self.watch.answers.get(&(*id, choice)))
                .map(|answer| answer.tokens.len())
                .max()
                .unwrap_or(0);
            let now = match live.spec.cancel {
                None => false,
                Some(Cancel::After(turns)) => self.turn >= live.arrived + turns,
                Some(Cancel::InPrefill) => live.has_begun && tokens == 0,
                Some(Cancel::AtToken(count)) => tokens >= count,
            };
            if now && live.spec.cancel_late == late && !live.has_left {
                leaving.push((*id, live.number));
            }
        }
        leaving.sort_by_key(|(_, number)| *number);
        let mut count = 0;
        for (id, number) in leaving {
            self.note(&[2, id.0]);
            let mut live = self.specs.remove(&id).ok_or("a live request has a spec")?;
            live.has_left = true;
            let all = live.spec.first_choice..live.spec.first_choice + live.spec.choices;
            let leaves = match live.spec.cancels_one {
                Some(at) => all.start + at..all.start + at + 1,
                None => all,
            };
            let ended: Vec<(u32, Answer)> = leaves
                .clone()
                .filter_map(|choice| Some((choice, self.watch.answers.remove(&(id, choice))?)))
                .collect();
            let cancelled = match live.spec.cancels_one {
                Some(_) => [(); 2].map(|()| self.engine.cancel_choice(id, leaves.start)),
                None => [(); 2].map(|()| self.engine.cancel(id)),
            };
            if cancelled != [!ended.is_empty(), false] {
                return Err(format!("request {number} can be cancelled while it is live, and once"));
            }
            count += ended.len();
            let is_one = live.spec.cancels_one.is_some() && live.choices_left as usize > ended.len();
            self.outcome.coverage.add(Class::CancelledChoice, u64::from(is_one) * ended.len() as u64);
            for (choice, answer) in ended {
                self.waiting.cancelled((id, choice));
                self.compare(&live, choice, &answer)?;
                live.choices_left -= 1;
            }
            if live.choices_left > 0 {
                self.specs.insert(id, live);
            }
        }
        Ok(count)
    }

    /// One turn: a plan, now and then others before that are dropped, and a step.
    fn turn(&mut self, budget: Budget, dropped: &[Budget], faults: bool) -> Result<(), String> {
        self.turn += 1;
        self.propose();
        let mut stale = Vec::new();
        for budget in dropped {
            stale.extend(self.plan(*budget)?);
        }
        let planned = self.plan(budget)?;
        self.outcome.coverage.add(Class::DroppedPlans, stale.len() as u64);
        for plan in stale {
            self.must_be_stale(plan)?;
        }
        let Some(plan) = planned else { return Ok(()) };
        if faults {
            let planned: BTreeSet<Key> =
                self.engine.rows(plan).map(|row| (row.request, row.choice)).collect();
            if self.cancel_some(true)? > 0 {
                let gone = planned.iter().filter(|key| !self.watch.answers.contains_key(key)).count();
                self.outcome.coverage.add(Class::CancelledPlanned, gone as u64);
                return self.must_be_stale(plan);
            }
        }
        self.step(plan)
    }

    /// The host proposes draft tokens: those that a grammar forces, and now and then nonsense.
    fn propose(&mut self) {
        if self.setup.without.has(Feature::Speculation) {
            return;
        }
        let mut rng = Rng::new(self.setup.seed, Stream::Propose, self.turn);
        let (nonsense, forgets) = (rng.percent(6), rng.percent(10));
        if forgets {
            // Whoever computes masks elsewhere has to begin again.
            self.followed.clear();
        }
        let mut keys: Vec<Key> = self.watch.answers.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let Some(live) = self.specs.get(&key.0) else { continue };
            let (spec, answer) = (&live.spec, &self.watch.answers[&key]);
            let output = [&spec.generated[..], &answer.ids()[..]].concat();
            let tokens = match &spec.ask.grammar {
                _ if nonsense => (0..3).map(|_| rng.below(VOCAB) as u32).collect(),
                Some(grammar) if rng.percent(80) => {
                    self.followed.entry(key).or_default().forced(grammar, &output)
                }
                _ => Vec::new(),
            };
            self.engine.propose(key.0, key.1, &tokens);
        }
    }

    /// A plan, checked; `None` if nobody is live.
    fn plan(&mut self, budget: Budget) -> Result<Option<PlanId>, String> {
        let texts = self.texts();
        let before = Running::of(&self.engine);
        let Some(plan) = self.engine.plan(budget) else {
            return match self.waiting.live_count() {
                0 => Ok(None),
                live => Err(format!("nothing is planned, but {live} sequences are live")),
            };
        };
        let rows: Vec<PlannedRow> = self.engine.rows(plan).collect();
        let rows_max = budget.rows.min(self.options.limits.rows);
        if rows.is_empty() || rows.len() > rows_max {
            return Err(format!("a step of {} rows, but the budget is {rows_max}", rows.len()));
        }
        let now = Running::of(&self.engine);
        self.waiting.check_admissions(&before, &now, &texts)?;
        if plan.kind == StepKind::Target {
            self.waiting.check_drafts((&rows, rows_max), &before, &now, &texts)?;
        }
        Ok(Some(plan))
    }

    /// What each live sequence computes.
    fn texts(&self) -> Texts {
        let of = |(key, answer): (&Key, &Answer)| {
            let spec = &self.specs.get(&key.0)?.spec;
            let ids = [&spec.ask.prompt[..], &spec.generated[..], &answer.ids()[..]].concat();
            Some((*key, Text { salt: spec.cache_salt, ids }))
        };
        self.watch.answers.iter().filter_map(of).collect()
    }

    fn must_be_stale(&mut self, plan: PlanId) -> Result<(), String> {
        match self.engine.execute(plan, Masks::NONE, &mut *self.runner, self.pool, &mut ()) {
            Err(StepError::StalePlan) => Ok(()),
            _ => Err("a plan that is not the latest was executed".into()),
        }
    }

    fn step(&mut self, plan: PlanId) -> Result<(), String> {
        let rows: Vec<PlannedRow> = self.engine.rows(plan).collect();
        let is_penalized =
            |row: &&PlannedRow| self.specs.get(&row.request).is_some_and(|live| live.spec.ask.is_penalized());
        let penalized = rows.iter().filter(|row| row.drafted > 0).filter(is_penalized).count();
        self.outcome.coverage.add(Class::PenalizedDrafts, penalized as u64);
        let (places, bits) = self.masks(&rows);
        let masks: Vec<(usize, &[u32])> = places.into_iter().zip(bits.chunks(mask_words(VOCAB))).collect();
        for row in &rows {
            self.note(&[3, row.request.0, u64::from(row.choice), row.position as u64, u64::from(row.token)]);
        }
        let mut ended = Vec::new();
        let events = self
            .engine
            .execute(plan, Masks { rows: &masks }, &mut *self.runner, self.pool, &mut self.watch)
            .map_err(|error| error.to_string())?;
        let is_lost = |event: Event<'_>| event.kind == EventKind::Finished(FinishReason::DeviceLost);
        let is_lost = events.clone().any(is_lost);
        // A step whose runner was lost does not count.
        let mut is_counted = plan.kind == StepKind::Draft || is_lost;
        let mut hash = self.outcome.log_hash;
        for event in events {
            hash = fold_event(hash, &event);
            // First what plans did, then the step.
            let is_of_plan = matches!(event.kind, EventKind::Admitted { .. } | EventKind::Preempted);
            if !is_of_plan && !is_counted {
                self.waiting.stepped(&rows);
                is_counted = true;
            }
            self.waiting.event(&event)?;
            let key = (event.request, event.choice);
            let answer =
                self.watch.answers.get_mut(&key).ok_or_else(|| format!("nobody's event: {event:?}"))?;
            answer.note(&event.kind)?;
            match event.kind {
                EventKind::Admitted { .. } => {
                    if let Some(live) = self.specs.get_mut(&event.request) {
                        live.has_begun = true;
                    }
                }
                EventKind::Preempted => {
                    let has_outputs = !answer.prompt.is_empty() || !answer.rows.is_empty();
                    self.outcome.coverage.add(Class::PreemptedOutputs, u64::from(has_outputs));
                }
                EventKind::Token { .. } => self.outcome.tokens += 1,
                EventKind::Finished(_) => ended.push(key),
                EventKind::PromptLogprob { .. } => {}
            }
        }
        if !is_counted {
            self.waiting.stepped(&rows);
        }
        self.outcome.log_hash = hash;
        if is_lost {
            self.runner = late(self.setup, self.options, None);
            if self.engine.status().running > 0 {
                return Err("the device is lost, but somebody runs".into());
            }
        }
        self.check_step(&rows, ended)
    }

    /// The rows of a step whose token a grammar constrains, and their masks one after the other.
    fn masks(&mut self, rows: &[PlannedRow]) -> (Vec<usize>, Vec<u32>) {
        let words = mask_words(VOCAB);
        let ask = |row: &PlannedRow| {
            let ask = &self.specs.get(&row.request)?.spec.ask;
            Some((ask.prompt.len(), ask.grammar?))
        };
        let constrained: Vec<(usize, (usize, Grammar))> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.samples)
            .filter_map(|(at, row)| Some((at, ask(row)?)))
            .collect();
        let mut bits = vec![0; words * constrained.len()];
        for ((at, (prompt_len, grammar)), mask) in constrained.iter().zip(bits.chunks_mut(words)) {
            let row = &rows[*at];
            let followed = self.followed.entry((row.request, row.choice)).or_default();
            grammar.allow(followed, (*prompt_len, self.engine.context(row)), VOCAB, mask);
        }
        (constrained.iter().map(|(at, _)| *at).collect(), bits)
    }

    /// Checks what must hold after every step, and the answers of the choices that ended in it.
    fn check_step(&mut self, rows: &[PlannedRow], ended: Vec<Key>) -> Result<(), String> {
        self.outcome.steps += 1;
        self.outcome.rows += rows.len() as u64;
        let status = self.engine.status();
        self.outcome.live += (status.running + status.waiting) as u64;
        self.outcome.running += status.running as u64;
        for key in ended {
            self.ended(key)?;
        }
        self.oracle.forget_before(self.next.saturating_sub(200));
        self.waiting.check()?;
        check_engine(&self.engine, &self.waiting)?;
        check_tables(&self.engine, &self.waiting, &self.texts())?;
        if !self.margins.are_intact() {
            return Err("bytes around the engine's memory were written".into());
        }
        Ok(())
    }

    /// A choice ended: its answer is what it gets alone.
    fn ended(&mut self, (id, choice): Key) -> Result<(), String> {
        let mut answer = self.watch.answers.remove(&(id, choice)).ok_or("an answer ends once")?;
        self.followed.remove(&(id, choice));
        let live = self.specs.remove(&id).ok_or("a live request has a spec")?;
        let class = match answer.end {
            Some(FinishReason::DeviceLost) => {
                answer.end = None; // it was cut short
                let (number, spec) = (live.number, Rc::clone(&live.spec));
                self.lost.push(Lost { number, spec, choice, answer: answer.clone() });
                return self.conclude(live, (id, choice), &answer);
            }
            Some(FinishReason::StopId(_)) => Class::StoppedById,
            Some(FinishReason::MaskEmpty) => Class::EndedByMask,
            Some(FinishReason::Length) => Class::EndedByLength,
            end => return Err(format!("request {} ended with {end:?}", live.number)),
        };
        self.outcome.coverage.add(class, 1);
        if live.spec.ask.prompt.len() + answer.tokens.len() > TWO_SPLITS {
            self.outcome.coverage.add(Class::TwoSplits, 1);
            self.outcome.is_long = true;
        }
        self.conclude(live, (id, choice), &answer)
    }

    /// Compares what a choice got; its request goes on while it has others.
    fn conclude(&mut self, mut live: LiveRequest, (id, choice): Key, answer: &Answer) -> Result<(), String> {
        self.compare(&live, choice, answer)?;
        live.choices_left -= 1;
        if live.choices_left > 0 {
            self.specs.insert(id, live);
        }
        Ok(())
    }

    fn compare(&mut self, live: &LiveRequest, choice: u32, answer: &Answer) -> Result<(), String> {
        if answer.end.is_none()
            && answer.tokens.is_empty()
            && answer.prompt.is_empty()
            && answer.rows.is_empty()
        {
            return Ok(());
        }
        self.outcome.compared += 1;
        let alone = self.oracle.answer(live.number, &live.spec.ask, choice);
        answer
            .compare(&alone, live.spec.generated.len())
            .map_err(|what| format!("request {}, choice {choice}: {what}", live.number))
    }

    fn note(&mut self, values: &[u64]) {
        self.outcome.log_hash = values.iter().fold(self.outcome.log_hash, |hash, value| fold(hash, *value));
    }
}

fn fold_event(hash: u64, event: &Event<'_>) -> u64 {
    let (kind, values) = match event.kind {
        EventKind::Token { token, logprob, .. } => (4, [u64::from(token), u64::from(logprob.to_bits())]),
        EventKind::PromptLogprob { position, logprob, .. } => {
            (5, [position as u64, u64::from(logprob.to_bits())])
        }
        EventKind::Admitted { cached_tokens } => (6, [cached_tokens as u64, 0]),
        EventKind::Preempted => (7, [0, 0]),
        EventKind::Finished(FinishReason::StopId(token)) => (8, [u64::from(token), 0]),
        EventKind::Finished(FinishReason::Length) => (9, [0, 0]),
        EventKind::Finished(FinishReason::NonFinite { position }) => (10, [position as u64, 0]),
        EventKind::Finished(FinishReason::MaskEmpty) => (11, [0, 0]),
        EventKind::Finished(FinishReason::DeviceLost) => (12, [0, 0]),
    };
    [kind, event.request.0, u64::from(event.choice), values[0], values[1]].into_iter().fold(hash, fold)
}
