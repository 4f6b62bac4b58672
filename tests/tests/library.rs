//! The host as a library: what a program that embeds it relies on, without a process of its own,
//! flags, or anything printed.
use std::sync::Arc;
use std::thread::JoinHandle;
use verbatim::load::{LoadNote, NoProgress, WeightChoice};
use verbatim::runtime::{
    Ending, EngineHandle, Generation, GenerationError, Limit, LimitError, ModelSource, Note, OpenError,
    Options, OwnedRequest, ServedModel, SubmitError, TextEvent, TextEventKind,
};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::engine::Refusal;
use verbatim_core::sampling::SamplingParams;

struct Library {
    model: Arc<ServedModel>,
    engine: EngineHandle,
    thread: JoinHandle<()>,
}

impl Library {
    fn open() -> Self {
        let options = Options { workers: Some(1), ..Options::default() };
        let model = Arc::new(ServedModel::open(&options, &NoProgress).expect("the built-in model opens"));
        let (engine, thread) =
            EngineHandle::start(Arc::clone(&model), options.step_ms).expect("an engine starts");
        Self { model, engine, thread }
    }

    fn start(&self, prompt: &str, max_tokens: usize) -> Generation {
        let prompt = self.model.tokenizer.encode(prompt, true).expect("it encodes");
        let request = OwnedRequest::new(prompt, SamplingParams::GREEDY, max_tokens);
        Generation::start(&self.engine, vec![request], &[]).expect("it is taken")
    }
}

/// The text of a generation of one choice, and how it ended.
fn read(generation: impl Iterator<Item = TextEvent>) -> (String, Option<Ending>) {
    let mut text = String::new();
    let mut ending = None;
    for TextEvent { choice, kind } in generation {
        assert_eq!((choice, &ending), (0, &None), "nothing comes after the end");
        match kind {
            TextEventKind::Delta(delta) => text.push_str(&delta.text),
            TextEventKind::End(end) => ending = Some(end),
        }
    }
    (text, ending)
}

#[test]
fn two_threads_generate_and_one_cancels() {
    let library = Library::open();
    let alone = read(library.start("The capital of France is", 24));
    assert!(alone.0.starts_with(" Paris") && alone.1 == Some(Ending::Length), "{alone:?}");

    let room = library.model.limits.model_len - 32;
    let long = library.start("Once upon a time", room);
    let short = library.start("The capital of France is", 24);
    let cancels = std::thread::spawn(move || {
        let mut long = long;
        let events: Vec<_> = long.by_ref().take(3).collect();
        let tokens = long.tokens(0);
        drop(long);
        (events, tokens)
    });
    let reads = std::thread::spawn(move || read(short));
    assert_eq!(reads.join().expect("no panic"), alone, "beside another it is what it is alone");
    let (events, tokens) = cancels.join().expect("no panic");
    let is_token =
        |event: &TextEvent| matches!(&event.kind, TextEventKind::Delta(delta) if delta.token.is_some());
    assert!(events.len() == 3 && events.iter().all(is_token) && tokens == 3, "{events:?}");

    // What was cancelled before this request came runs no more once this one has ended.
    read(library.start("x", 1));
    let status = library.engine.gauges().status;
    assert_eq!((status.running, status.waiting), (0, 0));

    library.engine.stop();
    library.thread.join().expect("the engine thread ends");
    assert_eq!(library.engine.failure(), None);
}

#[test]
fn a_generation_that_nobody_wants_ends() {
    let library = Library::open();
    let unwanted = library.start("Once upon a time", 200).while_wanted(|| false);
    assert_eq!(read(unwanted).1, Some(Ending::Error(GenerationError::Unwanted)));
}

#[test]
fn an_engine_that_stops_ends_what_runs() {
    let library = Library::open();
    let prompt = library.model.tokenizer.encode("x", true).expect("it encodes");
    library.engine.stop();
    library.thread.join().expect("the engine thread ends");
    let request = OwnedRequest::new(prompt, SamplingParams::GREEDY, 1);
    let refused = Generation::start(&library.engine, vec![request], &[]);
    assert_eq!(refused.err(), Some(SubmitError::EngineGone));
}

#[test]
fn errors_and_notes_are_values() {
    let open = |options: Options| ServedModel::open(&Options { workers: Some(1), ..options }, &NoProgress);
    let max = open(Options::default()).expect("the built-in model opens").limits.model_len;
    let found = max + 1;
    match open(Options { max_model_len: Some(found), ..Options::default() }) {
        Err(OpenError::Limit(error)) => {
            assert_eq!(error, LimitError::Range { limit: Limit::ModelLen, found, min: 1, max });
        }
        other => panic!("{other:?}"),
    }
    match open(Options { max_rows: 0, ..Options::default() }) {
        Err(OpenError::Limit(LimitError::Range { limit, found, .. })) => {
            assert_eq!((limit, found), (Limit::Rows, 0));
        }
        other => panic!("{other:?}"),
    }
    let none = ModelSource::Path("/no/such/model".into());
    match open(Options { model: none, ..Options::default() }) {
        Err(OpenError::Load(error)) => assert!(error.to_string().starts_with("/no/such/model: "), "{error}"),
        other => panic!("{other:?}"),
    }
    let int8 = open(Options { weights: WeightChoice::all(WeightFormat::Int8), ..Options::default() })
        .expect("it opens");
    assert_eq!(int8.notes, [Note::Model(LoadNote::Quantized(WeightFormat::Int8))]);

    let library = Library::open();
    let request = OwnedRequest::new(Vec::new(), SamplingParams::GREEDY, 1);
    let refused = Generation::start(&library.engine, vec![request], &[]);
    assert_eq!(refused.err(), Some(SubmitError::Refused(Refusal::EmptyPrompt)));
}
