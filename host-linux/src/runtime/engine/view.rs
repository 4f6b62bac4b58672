//! A copy of what the engine does, made for whoever watches it: sequences, blocks and steps. While
//! nobody watches, a step costs a look at one number.
//!
//! The engine thread makes a copy in buffers of its own between two steps, as seldom as [`Pace`]
//! says, and then exchanges it for the latest one. It never waits for who reads that: if somebody
//! does just then, the copy is made anew after a later step. However many come and go, and however
//! fast, no copy is made sooner for them. Nothing of it can change an answer, since the engine is
//! only read.
use super::messages::Readers;
use super::snapshot::EngineGauges;
use super::step_view::{Allowed, StepView};
use super::view_pace::Pace;
use crate::runtime::pacing::costs::StepRows;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use verbatim_core::engine::{Engine, RequestId, SequenceView};

/// Sequences in a copy, at most: those that run, and the first of those that wait.
const SEQUENCES_MAX: usize = 256;
/// Steps that are kept, the latest ones.
const STEPS_MAX: usize = 256;

/// What the engine did when it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct EngineView {
    /// How many views there were, with this one; 0 before the first.
    pub number: u64,
    /// When it was made; none before the first since somebody watches.
    pub at: Option<Instant>,
    /// The number of the engine, which grows by 1 with each restart; 0 for the first.
    pub engine: u64,
    /// What runs, waits and was done, of the same moment.
    pub gauges: EngineGauges,
    /// Sequences that run, then those that wait, each in the order in which they go; 256 at most.
    pub sequences: Vec<LiveSequence>,
    /// What each KV block is used for, as
    /// [`Engine::block_uses`](verbatim_core::engine::Engine::block_uses) says.
    pub blocks: Vec<u8>,
    /// The latest steps while somebody watched, oldest first; 256 at most.
    pub steps: Vec<StepView>,
}

impl EngineView {
    /// Becomes the same as `other`, in the memory that it has.
    fn copy_from(&mut self, other: &Self) {
        let Self { number, at, engine, gauges, sequences, blocks, steps } = other;
        (self.number, self.at, self.engine, self.gauges) = (*number, *at, *engine, *gauges);
        self.sequences.clone_from(sequences);
        self.blocks.clone_from(blocks);
        self.steps.clone_from(steps);
    }
}

/// A sequence, and what its caller and its past say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSequence {
    /// How far it is.
    pub now: SequenceView,
    /// What its caller marked it with, see [`EngineHandle::tagged`](super::EngineHandle::tagged).
    pub tag: u64,
    /// The priority of its request; the engine's, where a greater one is sooner.
    pub priority: i8,
    /// Tokens that were in the cache when it began to run last.
    pub cached_tokens: usize,
    /// Times that it lost its blocks to others.
    pub preemptions: u32,
    /// How long it has waited in all, before its first step and after preemptions.
    pub waited: Duration,
    /// How long ago it came.
    pub age: Duration,
}

impl LiveSequence {
    fn new(of: SequenceView, readers: &Readers, now: Instant) -> Self {
        let waits = readers.waits_of(of.choice);
        Self {
            now: of,
            tag: readers.tag,
            priority: readers.priority,
            cached_tokens: waits.map_or(0, |waits| waits.cached_tokens),
            preemptions: waits.map_or(0, |waits| waits.preemptions),
            waited: waits.map_or(Duration::ZERO, |waits| waits.waited(now)),
            age: now.saturating_duration_since(readers.since),
        }
    }
}

/// Who watches, and the latest view.
#[derive(Debug, Default)]
pub(super) struct Views {
    watchers: AtomicUsize,
    latest: Mutex<EngineView>,
}

impl Views {
    fn are_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// From now on one more watches. The first one is shown nothing that was made for others long
    /// ago.
    pub(super) fn enter(&self) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watchers.fetch_add(1, Ordering::Relaxed) == 0 {
            (latest.number, latest.at) = (latest.number + 1, None);
            latest.sequences.clear();
            latest.blocks.clear();
            latest.steps.clear();
        }
    }

    /// One of those who watch has gone.
    pub(super) fn leave(&self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Brings `view` up to date; whether it was another before.
    pub(super) fn read(&self, view: &mut EngineView) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = latest.number != view.number;
        if is_new {
            view.copy_from(&latest);
        }
        is_new
    }

    /// Shows that the engine is gone, and with it all sequences and blocks.
    pub(super) fn close(&self, gauges: &EngineGauges) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.at.is_some() {
            (latest.number, latest.at, latest.gauges) = (latest.number + 1, Some(Instant::now()), *gauges);
            latest.sequences.clear();
            latest.blocks.fill(0);
        }
    }
}

/// The side of the engine thread, which makes the views.
#[derive(Debug)]
pub(super) struct Viewer<'s> {
    views: &'s Views,
    /// The number of the engine.
    engine: u64,
    /// Where the next view is made.
    spare: EngineView,
    /// The latest steps; empty while nobody watches.
    steps: VecDeque<StepView>,
    pace: Pace,
    /// Whether the latest view is not what the engine does now.
    is_stale: bool,
}

impl<'s> Viewer<'s> {
    pub(super) fn new(views: &'s Views, engine: u64) -> Self {
        let (spare, steps) = (EngineView::default(), VecDeque::new());
        Self { views, engine, spare, steps, pace: Pace::default(), is_stale: false }
    }

    /// Notes a step that has ended, with its number among all of them.
    pub(super) fn note_step(
        &mut self,
        number: u64,
        rows: &StepRows,
        when: (Duration, Instant),
        allowed: Allowed,
    ) {
        if !self.views.are_watched() {
            return self.steps.clear();
        }
        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(StepView::new(number, rows, when, allowed));
    }

    /// Notes that the engine may have changed, or that somebody has begun to watch it.
    pub(super) fn touch(&mut self) {
        self.is_stale = true;
    }

    /// The time after which a view is to be made, if nothing else happens before; none if there is
    /// none to make.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let is_awaited = self.is_stale && self.views.are_watched();
        is_awaited.then(|| self.pace.left(now))
    }

    /// Makes a view if somebody watches and it is time.
    pub(super) fn show(
        &mut self,
        engine: &Engine<'_>,
        readers: &HashMap<RequestId, Readers>,
        gauges: impl FnOnce() -> EngineGauges,
    ) {
        let start = Instant::now();
        if self.wait(start) != Some(Duration::ZERO) {
            return;
        }
        self.make(engine, readers, gauges(), start);
        self.made(start, Instant::now());
    }

    /// Shows the view that was made between two times, and notes what it took.
    fn made(&mut self, start: Instant, end: Instant) {
        self.is_stale = !self.exchange();
        self.pace.note(start, end);
    }

    fn make(
        &mut self,
        engine: &Engine<'_>,
        readers: &HashMap<RequestId, Readers>,
        gauges: EngineGauges,
        now: Instant,
    ) {
        let EngineView { sequences, blocks, steps, .. } = &mut self.spare;
        sequences.clear();
        let live = engine.sequences().take(SEQUENCES_MAX);
        // One without a reader is about to be cancelled.
        sequences.extend(live.filter_map(|of| Some(LiveSequence::new(of, readers.get(&of.request)?, now))));
        blocks.resize(gauges.status.blocks, 0);
        engine.block_uses(blocks);
        steps.clear();
        steps.extend(&self.steps);
        (self.spare.at, self.spare.engine, self.spare.gauges) = (Some(now), self.engine, gauges);
    }

    /// Exchanges the view that was made for the latest one; `false` if that is being read.
    fn exchange(&mut self) -> bool {
        let mut latest = match self.views.latest.try_lock() {
            Ok(latest) => latest,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.spare.number = latest.number + 1;
        std::mem::swap(&mut *latest, &mut self.spare);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_core::engine::StepKind;

    #[test]
    fn steps_are_kept_while_somebody_watches_and_no_more_than_fit() {
        let views = Views::default();
        let mut viewer = Viewer::new(&views, 0);
        let when = (Duration::from_millis(1), Instant::now());
        let allowed = Allowed { rows: 9, time: Duration::from_millis(200) };
        let rows = StepRows { kind: StepKind::Target, count: 1, samples: 1, drafted: 0, drafts: 0 };
        let note = |viewer: &mut Viewer<'_>, number| {
            viewer.note_step(number, &rows, when, allowed);
        };
        note(&mut viewer, 1);
        viewer.touch();
        assert_eq!((viewer.steps.len(), viewer.wait(when.1)), (0, None), "nobody watches");
        views.enter();
        assert_eq!(viewer.wait(when.1), Some(Duration::ZERO));
        (1..=STEPS_MAX as u64 + 10).for_each(|number| note(&mut viewer, number));
        assert_eq!((viewer.steps.len(), viewer.steps[0].number), (STEPS_MAX, 11));
        let room = viewer.steps.capacity();
        (0..1000).for_each(|number| note(&mut viewer, number));
        assert_eq!(viewer.steps.capacity(), room, "no step allocates");
        views.leave();
        note(&mut viewer, 1);
        assert_eq!((viewer.steps.len(), viewer.wait(when.1)), (0, None));
    }

    /// How many views are made within some seconds, each of which takes so long, for clients of
    /// whom one comes and one goes each millisecond, beside so many who stay.
    fn views_made(seconds: u64, cost: Duration, staying: usize) -> u32 {
        let views = Views::default();
        let mut viewer = Viewer::new(&views, 0);
        (0..staying).for_each(|_| views.enter());
        let start = Instant::now();
        let (mut now, mut made) = (start, 0);
        while now < start + Duration::from_secs(seconds) {
            views.enter();
            // As the engine thread notes who comes, and a step.
            viewer.touch();
            if viewer.wait(now) == Some(Duration::ZERO) {
                viewer.made(now, now + cost);
                now += cost;
                made += 1;
            }
            views.leave();
            now += Duration::from_millis(1);
        }
        made
    }

    #[test]
    fn who_comes_and_goes_fast_is_shown_no_more_than_who_stays() {
        let us = Duration::from_micros;
        for staying in [0, 1, 7] {
            let (few, dear) = (views_made(100, us(50), staying), views_made(100, us(2000), staying));
            assert!((900..=1000).contains(&few), "one in 100 ms, not {few}");
            assert!((100..=125).contains(&dear), "1/400 of the time, not {dear} times 2 ms in 100 s");
        }
    }

    #[test]
    fn a_view_that_is_read_delays_nobody() {
        let views = Views::default();
        let mut viewer = Viewer::new(&views, 2);
        let mut seen = EngineView::default();
        assert!(!views.read(&mut seen), "there is none");
        viewer.spare.blocks = vec![1, 2, 0];
        assert!(viewer.exchange() && views.read(&mut seen) && !views.read(&mut seen));
        assert_eq!((seen.number, &*seen.blocks), (1, &[1, 2, 0][..]));
        let reading = views.latest.lock().expect("nobody else has it");
        assert!(!viewer.exchange(), "it goes on without it");
        drop(reading);
        assert!(viewer.exchange() && views.read(&mut seen) && seen.number == 2);
        (viewer.spare.at, viewer.spare.blocks) = (Some(Instant::now()), vec![2]);
        assert!(viewer.exchange());
        views.close(&EngineGauges::default());
        assert!(views.read(&mut seen) && seen.at.is_some() && seen.blocks == [0]);
        views.enter();
        assert!(views.read(&mut seen) && seen.at.is_none() && seen.blocks.is_empty());
        views.enter();
        assert!(!views.read(&mut seen), "somebody watches already");
    }
}
