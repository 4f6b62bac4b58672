//! How far a weight format or a KV format takes a model from f32: perplexity, and KL(f32 ‖ format)
//! of the next token's distribution.
//!
//! The text is fed, not generated, in windows that begin with the token that begins a text, if
//! there is one. Only one of the two formats is not f32, except in the last row.
use super::report::{Line, Report};
use super::speed::multiplied;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use verbatim::load::{AUX_FILES, Folder, LoadedModel, NoProgress, WeightChoice, builtin, load_model};
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim::text::Tokenizer;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::{Engine, EngineLimits, MemoryPlan, Observer, PlannedRow, Request};
use verbatim_core::isa::Isa;
use verbatim_core::model::RowOutput;
use verbatim_core::model::image::TensorKind;
use verbatim_tests::q4_0;

const FORMATS: &[WeightFormat] = &WeightFormat::ALL;

/// Keeps the logits of every row.
struct Keep(Vec<Vec<f32>>);

impl Observer for Keep {
    fn logits(&mut self, _row: &PlannedRow, logits: &[f32]) {
        self.0.push(logits.to_vec());
    }
}

fn logprobs(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    logits.iter().map(|x| f64::from(x - max) - sum.ln()).collect()
}

/// The logits of every position of every window.
fn logits(
    loaded: &LoadedModel,
    kv_format: KvFormat,
    pool: &FutexPool,
    windows: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>, String> {
    let longest = windows.iter().map(Vec::len).max().unwrap_or(1);
    let model = loaded.model();
    let limits = EngineLimits {
        model_len: longest,
        kv_tokens: longest,
        rows: 64,
        head_rows: 16,
        kv_format,
        workers: verbatim_core::pool::Pool::workers(pool),
        ..EngineLimits::for_model(model.config())
    };
    let plan = MemoryPlan::new(model.config(), &limits).map_err(|error| error.to_string())?;
    let mut memory = AlignedMemory::new(plan.total_bytes()).map_err(|error| error.to_string())?;
    let engine = Engine::on_cpu(model, limits, Isa::detect(), pool, memory.as_mut_slice());
    let (mut engine, mut runner) = engine.map_err(|error| error.to_string())?;
    let mut kept = Keep(Vec::new());
    for window in windows {
        let request =
            Request { prompt_output: RowOutput::Logits, max_tokens: 0, ..Request::greedy(window, 0) };
        engine
            .generate_observed(&request, &mut runner, pool, &mut kept, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())?;
    }
    Ok(kept.0)
}

fn windows(loaded: &LoadedModel, text: &Path, tokens: usize, window: usize) -> Result<Vec<Vec<u32>>, String> {
    let json = loaded.file("tokenizer.json").ok_or("the model has no tokenizer.json")?;
    let tokenizer =
        Tokenizer::new(json, loaded.file("tokenizer_config.json")).map_err(|error| error.to_string())?;
    let source = std::fs::read_to_string(text).map_err(|error| format!("{}: {error}", text.display()))?;
    let mut ids = tokenizer.encode(&source, false).map_err(|error| error.to_string())?;
    ids.truncate(tokens);
    let bos = loaded.generation().bos_id;
    let len = window.min(loaded.model().config().position_count).max(2) - usize::from(bos.is_some());
    let begun = |ids: &[u32]| bos.iter().chain(ids).copied().collect::<Vec<u32>>();
    let windows: Vec<_> = ids.chunks(len).map(begun).filter(|window| window.len() > 1).collect();
    if windows.is_empty() { Err(format!("{}: too short", text.display())) } else { Ok(windows) }
}

/// One line of the table: a name, the weights, and how they and the KV cache are stored.
type QualityCase = (String, Folder, WeightChoice, KvFormat);

/// The lines of f32 and of these choices of formats.
fn chosen_cases(folder: &Folder, weights: &[String]) -> Result<Vec<QualityCase>, String> {
    let named = weights.iter().map(String::as_str);
    std::iter::once("f32")
        .chain(named)
        .map(|name| {
            let choice = WeightChoice::named(Some(name), None)?;
            Ok((name.to_owned(), folder.clone(), choice, KvFormat::F32))
        })
        .collect()
}

/// Bits that a weight of the layers takes, scales and all.
fn layer_bits(loaded: &LoadedModel) -> f64 {
    let (model, config) = (loaded.model(), *loaded.model().config());
    let is_product = |kind: TensorKind| kind.segments(&config).next().is_some();
    let layers = model.layout().tensors().filter(|tensor| tensor.layer.is_some() && is_product(tensor.kind));
    let bytes: usize = layers.map(|tensor| tensor.span.bytes).sum();
    bytes as f64 * 8.0 / multiplied(&config).0 as f64
}

/// Where the largest of these is.
fn top(logits: &[f32]) -> usize {
    let larger = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, larger)
}

/// All lines of the table: the formats, and another engine's rounding beside them.
fn cases(folder: &Folder) -> Vec<QualityCase> {
    let of = |name: &str, choice, kv| (name.to_owned(), folder.clone(), choice, kv);
    let weights = |format: &WeightFormat| of(format.name(), WeightChoice::all(*format), KvFormat::F32);
    let mut cases: Vec<_> = FORMATS.iter().map(weights).collect();
    let int4_bf16 = WeightChoice { head: Some(WeightFormat::Bf16), ..WeightChoice::all(WeightFormat::Int4) };
    cases.push(of("int4, bf16 head", int4_bf16, KvFormat::F32));
    let files = AUX_FILES.map(|(name, _)| name);
    match q4_0::rounded(folder, &files) {
        Ok(folder) => {
            let f32 = WeightChoice::all(WeightFormat::F32);
            cases.push(("Q4_0 (ggml's)".to_owned(), folder, f32, KvFormat::F32));
        }
        Err(error) => eprintln!("without ggml's Q4_0: {error}"),
    }
    for kv in KvFormat::ALL.into_iter().filter(|kv| *kv != KvFormat::F32) {
        cases.push(of(&format!("f32, {} KV", kv.name()), WeightChoice::all(WeightFormat::F32), kv));
    }
    cases.push(of("int8, int8 KV", WeightChoice::all(WeightFormat::Int8), KvFormat::Int8));
    cases
}

/// Prints three lines for each format; `weights` are the formats, or all of them if there are none.
pub(crate) fn report(
    path: Option<PathBuf>,
    (text, tokens, window): (&Path, usize, usize),
    weights: &[String],
    json: bool,
) -> Result<(), String> {
    let folder = path.map_or_else(builtin::folder, |path| Folder::from(path.as_path()));
    let workers = verbatim::sys::cpu::worker_count(None).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("quality", json, workers);
    report.section(&format!("{}, {}", folder.path().display(), text.display()));
    let mut exact: Option<Vec<Vec<f32>>> = None;
    let cases = if weights.is_empty() { cases(&folder) } else { chosen_cases(&folder, weights)? };
    for (name, folder, choice, kv_format) in cases {
        let loaded = load_model(&folder, choice, &pool, &NoProgress);
        let loaded = loaded.map_err(|error| error.to_string())?;
        let windows = windows(&loaded, text, tokens, window)?;
        let logits = logits(&loaded, kv_format, &pool, &windows)?;
        let (mut nll, mut scored, mut kl, mut same) = (0.0, 0, 0.0, 0);
        let mut row = 0;
        for ids in &windows {
            for position in 0..ids.len() {
                let here = logprobs(&logits[row]);
                if let Some(next) = ids.get(position + 1) {
                    nll -= here[*next as usize];
                    scored += 1;
                }
                let there = exact.as_ref().map_or_else(|| here.clone(), |exact| logprobs(&exact[row]));
                kl += there.iter().zip(&here).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                same += usize::from(exact.as_ref().is_none_or(|exact| top(&exact[row]) == top(&logits[row])));
                row += 1;
            }
        }
        let perplexity = (nll / f64::from(scored)).exp();
        let megabytes = loaded.model().weight_bytes() as f64 / 1e6;
        let bits = layer_bits(&loaded);
        let note = format!("over {scored} tokens; {megabytes:.1} MB, {bits:.2} bits a weight of the layers");
        report.line(&Line::new(format!("{name}: perplexity"), perplexity, "").note(note));
        report.line(&Line::new(format!("{name}: KL to f32"), kl / row as f64 * 1e3, "1e-3"));
        report.line(&Line::new(format!("{name}: same first token"), same as f64 / row as f64 * 1e2, "%"));
        exact.get_or_insert(logits);
    }
    Ok(())
}
