//! What it costs that an output has a form: streams of JSON lines beside free ones, through the
//! engine thread, in turns.
use super::Table;
use super::served::Served;
use crate::report::median;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use verbatim::grammar::{Compiler, Constraint, GrammarSource};
use verbatim::runtime::{EngineHandle, Options, OwnedRequest, TokenEventKind};
use verbatim::text::Tokenizer;
use verbatim_core::isa::Isa;
use verbatim_core::sampling::SamplingParams;

/// How often each side of a comparison is measured, in turns.
const TURNS: usize = 5;
/// Output tokens of a stream.
const TOKENS: usize = 64;
/// Streams at once, and the share of the speed of free ones that constrained ones must have.
const BARS: [(usize, f64); 2] = [(1, 0.95), (16, 0.90)];
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn report(table: &mut Table, path: &Path, cpu: (Isa, Option<usize>)) -> Result<(), String> {
    // Without draft tokens, which forced tokens would be: that is what masks alone cost.
    let served = Served::open(path, cpu, Options { max_seqs: 16, ..Options::default() })?;
    let start = Instant::now();
    let constraint = lines(served.model.loaded.model().config().vocab_size)?;
    let compiled = start.elapsed();
    for (streams, bar) in BARS {
        let mut ratios = Vec::new();
        for _ in 0..TURNS {
            let free = rate(&served.engine, streams, None)?;
            ratios.push(rate(&served.engine, streams, Some(&constraint))? / free);
        }
        let note = format!("JSON lines; compiled in {:.0} ms", compiled.as_secs_f64() * 1e3);
        table.at_least(
            &format!("constrained: {streams} streams, over free ones"),
            median(ratios),
            bar,
            &note,
        );
    }
    served.stop()
}

/// Tokens a second of some streams, from the moment at which all have begun.
fn rate(engine: &EngineHandle, streams: usize, form: Option<&Arc<Constraint>>) -> Result<f64, String> {
    let (sender, events) = channel();
    for stream in 0..streams {
        let prompt = (0..16).map(|i| (stream * 31 + i) as u32).collect();
        let params = SamplingParams { temperature: 1.0, seed: stream as u64, ..SamplingParams::GREEDY };
        let request =
            OwnedRequest { constraint: form.map(Arc::clone), ..OwnedRequest::new(prompt, params, TOKENS) };
        engine.submit(request, stream, sender.clone()).map_err(|error| error.to_string())?;
    }
    let (mut has_begun, mut ended, mut tokens) = (vec![false; streams], 0, 0);
    let (mut begin, mut end) = (None, Instant::now());
    while ended < streams {
        let event = events.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
        match event.kind {
            TokenEventKind::Token { .. } => {
                has_begun[event.choice] = true;
                match begin {
                    Some(begin) => tokens += usize::from(event.at > begin),
                    None if has_begun.iter().all(|begun| *begun) => begin = Some(event.at),
                    None => {}
                }
                end = event.at;
            }
            TokenEventKind::Finished(_) | TokenEventKind::Complete => ended += 1,
            TokenEventKind::EngineLost => return Err("the engine panicked".to_owned()),
            TokenEventKind::Admitted { .. } | TokenEventKind::PromptLogprob { .. } => {}
        }
    }
    let begin = begin.ok_or("a stream has no token")?;
    Ok(tokens as f64 / (end - begin).as_secs_f64())
}

/// Lines of JSON without end, for a vocabulary of so many tokens like those of a real model.
fn lines(vocab: usize) -> Result<Arc<Constraint>, String> {
    let row = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["reading", "event", "note"]},
            "value": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "kind", "value", "tags"],
        "additionalProperties": false,
    });
    let source = GrammarSource::Lark(format!("start: (row \"\\n\")+\nrow: %json {row}\n"));
    let compiler = Compiler::new(Arc::new(tokenizer(vocab)?));
    compiler.compile(&source).map_err(|error| format!("the grammar {error}"))
}

/// A tokenizer whose pieces are bytes, words, with and without a space before them, and marks.
fn tokenizer(vocab: usize) -> Result<Tokenizer, String> {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let marks = ["{\"", "\": \"", "\", \"", "\",", "\":", "\"}", "],", "[\"", "\"]", "}\n", ": ", ", "];
    let syllables =
        ["ba", "con", "di", "er", "for", "ing", "le", "mo", "na", "or", "per", "que", "re", "sti"];
    let words = (0_usize..).map(|number| {
        let (mut rest, mut word) = (number, String::new());
        if number.is_multiple_of(2) {
            word.push('\u{2581}');
        }
        rest /= 2;
        while rest > 0 {
            word.push_str(syllables[rest % syllables.len()]);
            rest /= syllables.len();
        }
        word
    });
    let mut ids = Map::new();
    for piece in bytes.chain(marks.map(str::to_owned)).chain(words) {
        if ids.len() == vocab {
            break;
        }
        let next = json!(ids.len());
        ids.entry(piece).or_insert(next);
    }
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": Value::Object(ids), "unk_token": "<0x00>"},
    });
    Tokenizer::new(file.to_string().as_bytes(), None).map_err(|error| error.to_string())
}
