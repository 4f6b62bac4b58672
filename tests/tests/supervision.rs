//! Panics on purpose while streams flow. In the engine they end every request in flight with an
//! error from which it can be resumed to the same bits; elsewhere they end one request. Nothing
//! hangs, nothing leaks, and after too many panics the engine, and the server, ends with an error.
//!
//! The faults are global, so tests in this process take turns.
#![cfg(debug_assertions)] // other builds have no faults

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use verbatim::faults::{self, Point};
use verbatim::load::NoProgress;
use verbatim::runtime::{
    Drafting, Ending, EngineFailure, EngineHandle, EngineNotice, Generation, GenerationError, Options,
    OwnedRequest, ServedModel, SubmitError, Supervision, TextEvent, TextEventKind,
};
use verbatim::text::{TextError, TextPart};
use verbatim_core::engine::{SpeculationMode, StepKind};
use verbatim_core::sampling::SamplingParams;

/// Longer than anything here takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(120);
const STREAMS: usize = 8;
const TOKENS: usize = 48;

static TURN: Mutex<()> = Mutex::new(());

/// The built-in model with an engine, and what was told of it.
struct Rig {
    engine: EngineHandle,
    thread: JoinHandle<()>,
    notices: Arc<Mutex<Vec<EngineNotice>>>,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    fn start(drafting: Drafting, supervision: Supervision) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        faults::disarm();
        let options = Options { workers: Some(2), max_seqs: STREAMS, drafting, ..Options::default() };
        let mut model = ServedModel::open(&options, &NoProgress).expect("the built-in model opens");
        if options.drafting == Drafting::SameModel {
            // Whether it pays on this machine does not matter here.
            model.speculation.mode = SpeculationMode::Forced;
        }
        let (engine, thread) = EngineHandle::start_supervised(Arc::new(model), options.step_ms, supervision)
            .expect("an engine starts");
        let notices = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&notices);
        engine.on_notice(move |notice| hears.lock().expect("no panic").push(notice.clone()));
        Self { engine, thread, notices, _turn: turn }
    }

    fn notices(&self) -> Vec<EngineNotice> {
        self.notices.lock().expect("no panic").clone()
    }

    /// The requests of all streams: different prompts, some greedy and some drawn.
    fn requests(&self) -> Vec<OwnedRequest> {
        let prompts = ["The capital of France is", "Once upon a time", "2 + 3 =", "A b c d e f g"];
        let request = |i: usize| {
            let prompt = self.engine.model().tokenizer.encode(prompts[i % 4], true).expect("it encodes");
            let temperature = if i < 4 { 0.0 } else { 1.2 };
            let params = SamplingParams { temperature, seed: i as u64, ..SamplingParams::GREEDY };
            OwnedRequest::new(prompt, params, TOKENS)
        };
        (0..STREAMS).map(request).collect()
    }

    /// What each stream is alone.
    fn solo(&self) -> Vec<Output> {
        let requests = self.requests();
        requests.into_iter().map(|request| wait(&[run(&self.engine, request)]).remove(0)).collect()
    }

    /// All streams at once.
    fn together(&self) -> Vec<Output> {
        let running: Vec<_> = self.requests().into_iter().map(|request| run(&self.engine, request)).collect();
        wait(&running)
    }

    /// Resumes what was cut by a restart, until every stream is whole.
    fn resume(&self, mut outputs: Vec<Output>) -> Vec<Output> {
        for (request, output) in self.requests().into_iter().zip(&mut outputs) {
            while matches!(output.end, End::Cut(_)) {
                let rest = OwnedRequest { generated: output.ids.clone(), ..request.clone() };
                let rest = wait(&[run(&self.engine, rest)]).remove(0);
                output.ids.extend(rest.ids);
                output.text.push_str(&rest.text);
                output.end = rest.end;
            }
        }
        outputs
    }

    /// The engine ends, and its threads do.
    fn stop(self) {
        faults::disarm();
        self.engine.stop();
        assert!(self.engine.wait_for_end(PATIENCE), "the engine ends");
        self.thread.join().expect("the supervisor ends without a panic");
    }
}

#[derive(Clone, Debug, PartialEq)]
enum End {
    Whole,
    Cut(GenerationError),
    Refused(SubmitError),
}

#[derive(Clone, Debug, PartialEq)]
struct Output {
    ids: Vec<u32>,
    text: String,
    end: End,
}

/// Runs a request on a thread of its own; its output comes through the queue.
fn run(engine: &EngineHandle, request: OwnedRequest) -> Receiver<Output> {
    let (sender, receiver) = channel();
    let engine = engine.clone();
    std::thread::spawn(move || {
        let mut output = Output { ids: Vec::new(), text: String::new(), end: End::Whole };
        match Generation::start(&engine, vec![request], &[]) {
            Err(error) => output.end = End::Refused(error),
            Ok(generation) => read(generation, &mut output),
        }
        let _ = sender.send(output);
    });
    receiver
}

fn read(generation: Generation, output: &mut Output) {
    for TextEvent { kind, .. } in generation {
        match kind {
            TextEventKind::Delta(delta) => {
                output.text.push_str(&delta.text);
                output.ids.extend(delta.token.map(|token| token.token));
            }
            TextEventKind::End(Ending::Error(error)) => output.end = End::Cut(error),
            TextEventKind::End(_) => {}
        }
    }
}

/// All outputs; none may hang.
fn wait(running: &[Receiver<Output>]) -> Vec<Output> {
    running.iter().map(|output| output.recv_timeout(PATIENCE).expect("the stream ends")).collect()
}

/// Plants a fault of the engine while all streams flow; they are cut, and resume to their bits.
fn a_panic_cuts_streams_that_resume(point: Point, list: &str, drafting: Drafting) {
    let rig = Rig::start(drafting, Supervision::default());
    let solo = rig.solo();
    assert!(solo.iter().all(|output| output.end == End::Whole && output.ids.len() == TOKENS));
    let before = rig.engine.gauges().counters.steps;
    faults::arm(list).expect("a list of faults");
    let cut = rig.together();
    assert!(faults::passed(point) > 0 && rig.engine.restarts() == 1, "{list} has happened");
    let is_cut = |output: &&Output| output.end == End::Cut(GenerationError::EngineRestarted);
    assert!(cut.iter().filter(is_cut).count() >= 1, "{cut:?}");
    for (output, solo) in cut.iter().zip(&solo) {
        assert!(solo.ids.starts_with(&output.ids), "what came before the panic is right");
        assert!(is_cut(&output) || output == solo, "who was not cut is whole: {output:?}");
    }
    assert_eq!(rig.resume(cut), solo, "{list}: resumed streams have the same bits");
    assert_eq!(rig.together(), solo, "{list}: the new engine computes the same");
    assert!(rig.engine.gauges().counters.steps > before, "counters go on");
    assert_eq!(rig.engine.failure(), None);
    match &rig.notices()[..] {
        [EngineNotice::Restarted { panic, restarts: 1, took, requests }] => {
            assert!(panic.contains(point.name()), "{panic}");
            assert!((1..=STREAMS).contains(requests) && *took < Duration::from_secs(10), "{took:?}");
        }
        other => panic!("{other:?}"),
    }
    rig.stop();
}

#[test]
fn a_step_panics() {
    a_panic_cuts_streams_that_resume(Point::Step, "step@9", Drafting::Off);
}

#[test]
fn a_job_of_the_pool_panics() {
    a_panic_cuts_streams_that_resume(Point::Job, "job@800", Drafting::default());
}

#[test]
fn sampling_panics() {
    a_panic_cuts_streams_that_resume(Point::Sampling, "sampling@40", Drafting::Off);
}

#[test]
fn a_draft_panics() {
    a_panic_cuts_streams_that_resume(Point::Draft, "draft@4", Drafting::SameModel);
}

#[test]
fn a_request_that_the_engine_panics_on_is_not_to_be_sent_again() {
    let rig = Rig::start(Drafting::Off, Supervision::default());
    let solo = rig.solo();
    faults::arm("submit@8").expect("a list of faults");
    let outputs = rig.together();
    let refused = outputs.iter().filter(|output| output.end == End::Refused(SubmitError::Panicked)).count();
    assert_eq!((refused, rig.engine.restarts()), (1, 1), "{outputs:?}");
    for (output, solo) in outputs.iter().zip(&solo) {
        assert!(solo.ids.starts_with(&output.ids));
    }
    assert_eq!(rig.together(), solo);
    rig.stop();
}

#[test]
fn several_panics_are_survived_and_every_stream_ends_up_whole() {
    let rig = Rig::start(Drafting::default(), Supervision::default());
    let solo = rig.solo();
    faults::arm("step@3,job@2000,step@40,sampling@300").expect("a list of faults");
    let cut = rig.together();
    assert_eq!(rig.resume(cut), solo);
    assert!((1..=4).contains(&rig.engine.restarts()), "{}", rig.engine.restarts());
    faults::disarm();
    assert_eq!(rig.together(), solo);
    rig.stop();
}

#[test]
fn a_detokenizer_panics_for_one_stream_alone() {
    let rig = Rig::start(Drafting::Off, Supervision::default());
    let solo = rig.solo();
    faults::arm("detokenize@101").expect("a list of faults");
    let outputs = rig.together();
    let why = GenerationError::Text(TextError::Panicked(TextPart::Detokenizer));
    let cut: Vec<_> = outputs.iter().filter(|output| output.end != End::Whole).collect();
    assert!(cut.len() == 1 && cut[0].end == End::Cut(why), "{cut:?}");
    let same = outputs.iter().zip(&solo).filter(|(output, solo)| output == solo).count();
    assert_eq!((same, rig.engine.restarts()), (STREAMS - 1, 0));
    assert_eq!(rig.resume(outputs), solo, "its ids and its text go on where they ended");
    rig.stop();
}

/// A command that is sent while no engine runs waits for the next one.
#[test]
fn commands_wait_for_the_new_engine() {
    let rig = Rig::start(Drafting::Off, Supervision::default());
    let solo = rig.solo();
    let (queued, is_queued) = channel();
    let (engine, request) = (rig.engine.clone(), rig.requests().remove(0));
    rig.engine.on_notice(move |notice| {
        assert!(matches!(notice, EngineNotice::Restarted { .. }), "{notice:?}");
        // The new engine obeys nothing before this returns.
        let _ = queued.send(run(&engine, request.clone()));
        std::thread::sleep(Duration::from_millis(200));
    });
    faults::arm("step@5").expect("a list of faults");
    rig.together();
    let running = is_queued.recv_timeout(PATIENCE).expect("the engine was restarted");
    assert_eq!(wait(&[running]), solo[..1]);
    rig.stop();
}

/// A ticket of an engine that is gone means no request of the new one.
#[test]
fn numbers_of_requests_do_not_collide_over_a_restart() {
    let rig = Rig::start(Drafting::Off, Supervision::default());
    let solo = rig.solo().remove(0);
    let (sender, events) = channel();
    let submit = || rig.engine.submit(rig.requests().remove(0), 0, sender.clone()).expect("it is taken");
    faults::arm("step@2").expect("a list of faults");
    let old = submit();
    let since = Instant::now();
    while rig.engine.restarts() == 0 {
        assert!(since.elapsed() < PATIENCE, "the engine is restarted");
        std::thread::sleep(Duration::from_millis(1));
    }
    // As many requests as before, so that the numbers come again.
    let mut running = Vec::new();
    for _ in 0..STREAMS + 1 {
        rig.engine.cancel(old);
        rig.engine.close(old, 0);
        running.push(run(&rig.engine, rig.requests().remove(0)));
        let again = submit();
        assert_ne!(again, old);
        rig.engine.cancel(again);
    }
    assert!(wait(&running).iter().all(|output| *output == solo));
    drop(events);
    rig.stop();
}

#[test]
fn an_engine_that_panics_too_often_fails_for_good() {
    let rig = Rig::start(Drafting::Off, Supervision { restarts_max: 2, ..Supervision::default() });
    let (failed, is_failed) = channel();
    rig.engine.on_failure(move |failure| failed.send(failure.clone()).expect("it is awaited"));
    faults::arm("step@1,step@2,step@3").expect("a list of faults");
    let ask = || wait(&[run(&rig.engine, rig.requests().remove(0))]).remove(0).end;
    assert_eq!(ask(), End::Cut(GenerationError::EngineRestarted));
    assert_eq!(ask(), End::Cut(GenerationError::EngineRestarted));
    let End::Cut(GenerationError::EngineStopped(Some(failure))) = ask() else { panic!("it has failed") };
    let panic = "a fault on purpose: step@3".to_owned();
    assert_eq!(failure, EngineFailure::TooManyPanics { restarts: 2, panic });
    assert_eq!(is_failed.recv_timeout(PATIENCE), Ok(failure.clone()));
    assert_eq!((rig.engine.failure(), rig.engine.restarts()), (Some(failure), 2));
    assert!(rig.engine.wait_for_end(PATIENCE));
    let status = rig.engine.gauges().status;
    assert_eq!((status.running, status.waiting), (0, 0));
    assert_eq!(ask(), End::Refused(SubmitError::EngineGone));
    rig.stop();
}

#[test]
fn a_step_that_takes_too_long_is_told_once_and_while_it_lasts() {
    let watchful =
        Supervision { watchdog_factor: 1, watchdog_min: Duration::from_secs(1), ..Supervision::default() };
    let rig = Rig::start(Drafting::Off, watchful);
    let solo = rig.solo().remove(0);
    assert!(rig.engine.last_step_age().is_some() && !rig.engine.is_stuck());
    assert!(rig.notices().is_empty());
    faults::arm("step@5:4000ms").expect("a list of faults");
    let running = run(&rig.engine, rig.requests().remove(0));
    let since = Instant::now();
    while !rig.engine.is_stuck() {
        assert!(since.elapsed() < PATIENCE, "the step is long");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(wait(&[running]), [solo]);
    assert!(!rig.engine.is_stuck());
    assert_eq!((rig.engine.overdue_steps(), rig.engine.restarts()), (1, 0));
    match &rig.notices()[..] {
        [EngineNotice::StepOverdue(step)] => {
            assert_eq!((step.kind, step.rows), (StepKind::Target, 1));
            assert!(step.age > step.limit && step.age < PATIENCE);
        }
        other => panic!("{other:?}"),
    }
    rig.stop();
}

/// Handles may be dropped without a word: the engine ends after a restart as before one.
#[test]
fn an_engine_without_handles_ends_after_a_restart_too() {
    let rig = Rig::start(Drafting::Off, Supervision::default());
    faults::arm("step@1").expect("a list of faults");
    wait(&[run(&rig.engine, rig.requests().remove(0))]);
    let Rig { engine, thread, notices, _turn } = rig;
    drop(engine);
    let (joined, is_joined) = channel();
    std::thread::spawn(move || joined.send(thread.join().is_ok()));
    assert_eq!(is_joined.recv_timeout(PATIENCE), Ok(true));
    assert_eq!(notices.lock().expect("no panic").len(), 1);
}

/// Every point has a test here or in `supervised_server.rs`, which this names.
#[test]
fn every_point_is_named_once() {
    let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names.len(), Point::ALL.len());
    let tests = concat!(include_str!("supervision.rs"), include_str!("supervised_server.rs"));
    for name in names {
        assert!(tests.contains(&format!("{name}@")), "{name}");
    }
}
