//! The masks that the host makes for an engine: a choice whose draws are bounded is the same alone
//! and in company, with draft tokens that are accepted and rejected, with neighbours that are
//! cancelled, and where memory is so short that sequences are preempted.
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use verbatim::grammar::GrammarSource;
use verbatim::load::NoProgress;
use verbatim::runtime::restriction::Restriction;
use verbatim::runtime::{
    Drafting, Ending, EngineHandle, Generation, ModelSource, Options, OwnedRequest, ServedModel,
    TextEventKind,
};
use verbatim_core::sampling::SamplingParams;
use verbatim_tests::draws::Draws;
use verbatim_tests::fixture::Files;
use verbatim_tests::temporary::TemporaryDirectory;

/// Requests that are drawn.
const COUNT: usize = 36;

/// A model whose engine drafts as `drafting` says, with room for so many tokens.
fn model(directory: &TemporaryDirectory, drafting: Drafting, kv_tokens: usize) -> Arc<ServedModel> {
    let options = Options {
        model: ModelSource::Path(directory.path().to_owned()),
        workers: Some(2),
        max_seqs: 10,
        max_model_len: Some(192),
        kv_tokens: Some(kv_tokens),
        drafting,
        ..Options::default()
    };
    Arc::new(ServedModel::open(&options, &NoProgress).expect("a model"))
}

fn sources() -> Vec<GrammarSource> {
    let reading = json!({
        "type": "object",
        "properties": {"kind": {"enum": ["reading", "event"]}, "on": {"type": "boolean"},
                       "text": {"type": "string", "maxLength": 12}},
        "required": ["kind", "on", "text"],
        "additionalProperties": false,
    });
    vec![
        GrammarSource::JsonSchema(reading),
        GrammarSource::JsonObject,
        GrammarSource::Regex("(abc ){1,6}(abd|abe)( [0-9]{1,3}){0,9}".to_owned()),
        GrammarSource::Choice(["alpha beta", "alpha", "gamma delta"].map(str::to_owned).to_vec()),
        GrammarSource::Gbnf("root ::= \"[\" (root (\", \" root)?)? \"]\" | [0-9]{1,4}".to_owned()),
        GrammarSource::Lark("start: \"a\" N \";\" start | \"b\" N \"!\"\nN: /[0-9]+/".to_owned()),
    ]
}

/// A request by any number, for a model.
fn request(model: &ServedModel, seed: usize) -> OwnedRequest {
    let mut draws = Draws::new(seed as u64);
    let sources = sources();
    let source = &sources[seed % sources.len()];
    let constraint = model.grammars.compile(source).unwrap_or_else(|error| panic!("{source:?} {error}"));
    let temperature = [0.0, 0.7, 1.5][draws.below(3)];
    let params = SamplingParams { temperature, seed: draws.below(1000) as u64, ..SamplingParams::GREEDY };
    let mut words = vec![vec![u32::from(b'b'), u32::from(b'd')], vec![u32::from(b'e')]];
    words.truncate(draws.below(3));
    let allowed = (draws.below(6) == 0).then(|| (32..127).collect());
    let prompt = (0..20 + draws.below(40)).map(|_| 97 + draws.below(3) as u32).collect();
    OwnedRequest {
        constraint: (draws.below(6) > 0).then_some(constraint),
        restriction: Restriction::new(allowed, words).map(Arc::new),
        choices: 1 + draws.below(3) as u32,
        stop_ids: vec![257],
        min_tokens: draws.below(8),
        ..OwnedRequest::new(prompt, params, 24 + draws.below(60))
    }
}

/// The tokens and the end of each choice of some requests that run together, until all have ended
/// or as many events have come as `events` says.
fn run(
    engine: &EngineHandle,
    requests: Vec<OwnedRequest>,
    events: usize,
) -> BTreeMap<usize, (Vec<u32>, Option<Ending>)> {
    let mut outputs: BTreeMap<usize, (Vec<u32>, Option<Ending>)> = BTreeMap::new();
    for event in Generation::start(engine, requests, &[]).expect("started").take(events) {
        let output = outputs.entry(event.choice).or_default();
        match event.kind {
            TextEventKind::Delta(delta) => output.0.extend(delta.token.map(|token| token.token)),
            TextEventKind::End(ending) => output.1 = Some(ending),
        }
    }
    outputs
}

#[test]
fn bounded_draws_are_the_same_alone_and_in_company() {
    let directory = Files::tiny().directory("masks");
    let alone = model(&directory, Drafting::Off, 4096);
    let (engine, thread) = EngineHandle::start(Arc::clone(&alone), 0).expect("an engine");
    let expected: Vec<_> =
        (0..COUNT).map(|seed| run(&engine, vec![request(&alone, seed)], usize::MAX)).collect();
    engine.stop();
    thread.join().expect("the engine ended");
    assert!(expected.iter().flat_map(BTreeMap::values).any(|(_, end)| *end == Some(Ending::Stop)));

    // Drafts from the text and from grammars; little memory, so that sequences are preempted.
    let crowded = model(&directory, Drafting::LookupAlways, 208);
    let (engine, thread) = EngineHandle::start(Arc::clone(&crowded), 0).expect("an engine");
    let (mut accepted, mut proposed, mut preempted) = (0, 0, 0);
    for (round, seeds) in (0..COUNT).collect::<Vec<_>>().chunks(4).enumerate() {
        std::thread::scope(|scope| {
            let (engine, crowded) = (&engine, &crowded);
            // Neighbours that go away in the middle.
            for gone in 0..3 {
                let request = request(crowded, 1000 + 3 * round + gone);
                scope.spawn(move || run(engine, vec![request], 5 + 7 * gone));
            }
            for &seed in seeds {
                let expected = &expected[seed];
                scope.spawn(move || {
                    let found = run(engine, vec![request(crowded, seed)], usize::MAX);
                    assert_eq!(&found, expected, "request {seed}: {:?}", sources()[seed % 6]);
                });
            }
        });
        let gauges = engine.gauges();
        accepted = gauges.counters.lookup.accepted;
        proposed = gauges.counters.proposed.verified;
        preempted = gauges.counters.preemptions;
    }
    println!("{accepted} drafts accepted, {proposed} proposed, {preempted} preempted");
    assert!(accepted > 20 && proposed > 20 && preempted > 0, "{accepted}, {proposed}, {preempted}");
    engine.stop();
    thread.join().expect("the engine ended");
}
