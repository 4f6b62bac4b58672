//! How far a weight format or a KV format takes a model from f32: perplexity, and KL(f32 ‖ format)
//! of the next token's distribution.
//!
//! * [`feed`]: the text through our engine. [`score`]: distributions, compared.
//! * [`llama`]: the same windows through llama.cpp; [`logits_file`]: the file that it writes.
//!
//! The text is fed, not generated, in windows that begin with the token that begins a text, if
//! there is one. Only one of the two formats is not f32, except in the last row. Beside llama.cpp
//! the windows are its own, and f32 is its f32.
mod feed;
mod llama;
mod logits_file;
mod score;

use super::report::{Line, Report};
use super::speed::multiplied;
use feed::feed;
use llama::{LlamaArgs, Perplexity, Written};
use score::{Distribution, Score};
use std::path::{Path, PathBuf};
use verbatim::load::resolve::CacheLocations;
use verbatim::load::{
    AUX_FILES, Folder, LoadedModel, NoProgress, WeightChoice, builtin, load_model, resolve,
};
use verbatim::sys::pool::FutexPool;
use verbatim::text::Tokenizer;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::model::image::TensorKind;
use verbatim_tests::q4_0;

const FORMATS: &[WeightFormat] = &WeightFormat::ALL;

/// The flags of `verbatim-bench quality`: the model, the text, and what is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct QualityArgs {
    /// A checkpoint's directory, a GGUF file, or either's name in the Hugging Face cache [default:
    /// the built-in model].
    path: Option<PathBuf>,
    /// A text file, of which the beginning is used.
    #[arg(long)]
    text: PathBuf,
    /// Tokens of the text.
    #[arg(long, default_value_t = 1024)]
    tokens: usize,
    /// Tokens of a window; each window begins with an empty context.
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Only f32 and this choice of weight formats, as for serving: int4, or
    /// int4:down=int8. May be given several times.
    #[arg(long)]
    weights: Vec<String>,
    #[command(flatten)]
    llama: LlamaArgs,
}

/// Ids of the text, without what begins one. Text of special tokens is ordinary text if it is so
/// for a peer.
fn ids(loaded: &LoadedModel, text: &Path, is_plain: bool) -> Result<Vec<u32>, String> {
    let json = loaded.file("tokenizer.json").ok_or("the model has no tokenizer.json")?;
    let tokenizer =
        Tokenizer::new(json, loaded.file("tokenizer_config.json")).map_err(|error| error.to_string())?;
    let source = std::fs::read_to_string(text).map_err(|error| format!("{}: {error}", text.display()))?;
    let encode = if is_plain { Tokenizer::encode_plain } else { Tokenizer::encode };
    encode(&tokenizer, &source, false).map_err(|error| error.to_string())
}

/// Our own windows of the text.
fn own_windows(loaded: &LoadedModel, args: &QualityArgs) -> Result<Vec<Vec<u32>>, String> {
    let mut ids = ids(loaded, &args.text, false)?;
    ids.truncate(args.tokens);
    let bos = loaded.generation().bos_id;
    let len = args.window.min(loaded.model().config().position_count).max(2) - usize::from(bos.is_some());
    let begun = |ids: &[u32]| bos.iter().chain(ids).copied().collect::<Vec<u32>>();
    let windows: Vec<_> = ids.chunks(len).map(begun).filter(|window| window.len() > 1).collect();
    if windows.is_empty() { Err(format!("{}: too short", args.text.display())) } else { Ok(windows) }
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

/// All lines of the table: the formats, and another engine's rounding beside them.
fn cases(folder: &Folder) -> Vec<QualityCase> {
    let of = |name: &str, choice, kv| (name.to_owned(), folder.clone(), choice, kv);
    // By name, as for serving: those of few bits keep the values and the head in int8.
    let named = |name: &str| WeightChoice::named(Some(name), None).expect("the name of a format");
    let weights = |format: &WeightFormat| of(format.name(), named(format.name()), KvFormat::F32);
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

/// The distributions that all others are compared with.
enum Exact {
    /// Those of our f32: the logits of all windows' positions in order.
    Ours(Vec<Vec<f32>>),
    /// Those of llama.cpp's first file, and what that is called.
    Theirs(Written, String),
}

impl Exact {
    fn name(&self) -> &str {
        match self {
            Self::Ours(_) => "f32",
            Self::Theirs(_, name) => name,
        }
    }
}

/// A table: where it is printed and what its lines are compared with.
struct Table<'t> {
    report: &'t Report,
    exact: Exact,
}

impl Table<'_> {
    /// Prints the three lines of a format that takes so many bytes, and so many bits a weight.
    fn lines(&self, name: &str, perplexity: f64, score: &Score, (bytes, bits): (u64, f64)) {
        let (scored, megabytes) = (score.predicted, bytes as f64 / 1e6);
        let note = format!("over {scored} tokens; {megabytes:.1} MB, {bits:.2} bits a weight of the layers");
        self.report.line(&Line::new(format!("{name}: perplexity"), perplexity, "").note(note));
        let divergence = score.mean_divergence();
        let (scale, unit) = if divergence < 1e-4 { (1e6, "1e-6") } else { (1e3, "1e-3") };
        let to = format!("{name}: KL to {}", self.exact.name());
        self.report.line(&Line::new(to, divergence * scale, unit));
        self.report.line(&Line::new(format!("{name}: same first token"), score.same_share() * 1e2, "%"));
    }

    /// Measures and prints one of our formats. Of f32 the logits are kept if nothing is there to
    /// compare with.
    fn ours(&mut self, case: &QualityCase, args: &QualityArgs, pool: &FutexPool) -> Result<(), String> {
        let (name, folder, choice, kv_format) = case;
        let loaded = load_model(folder, *choice, pool, &NoProgress).map_err(|error| error.to_string())?;
        let mut score = Score::default();
        match &mut self.exact {
            Exact::Ours(kept) => {
                let windows = own_windows(&loaded, args)?;
                let (is_first, mut row) = (kept.is_empty(), 0);
                feed(&loaded, *kv_format, pool, &windows, &mut |window, position, logits| {
                    let here = Distribution::of_logits(logits);
                    let exact = (!is_first).then(|| Distribution::of_logits(&kept[row]));
                    score.add(exact.as_ref(), &here, windows[window].get(position + 1).copied());
                    if is_first {
                        kept.push(logits.to_vec());
                    }
                    row += 1;
                    Ok(())
                })?;
            }
            Exact::Theirs(written, _) => {
                let exact = &written.logits;
                let windows = llama::windows(exact, &ids(&loaded, &args.text, true)?)?;
                let positions = logits_file::positions(windows[0].len());
                feed(&loaded, *kv_format, pool, &windows, &mut |window, position, logits| {
                    if logits.len() != exact.vocabulary() {
                        let (ours, theirs) = (logits.len(), exact.vocabulary());
                        return Err(format!("our vocabulary has {ours} tokens, that of --gguf {theirs}"));
                    }
                    if positions.contains(&position) {
                        let here = Distribution::of_logits(logits);
                        score.add(
                            Some(&exact.row(window, position)?),
                            &here,
                            Some(windows[window][position + 1]),
                        );
                    }
                    Ok(())
                })?;
            }
        }
        self.lines(
            name,
            score.perplexity(),
            &score,
            (loaded.model().weight_bytes() as u64, layer_bits(&loaded)),
        );
        Ok(())
    }
}

/// The score of one of llama.cpp's runs, compared with another, or with itself.
fn score_of(here: &Written, exact: Option<&Written>) -> Result<Score, String> {
    let tokens = here.logits.tokens();
    if let Some(exact) = exact
        && (tokens, here.logits.vocabulary()) != (exact.logits.tokens(), exact.logits.vocabulary())
    {
        return Err("its tokens are not those of the first --gguf, so nothing can be compared".to_owned());
    }
    let mut score = Score::default();
    let window = tokens.len() / here.logits.windows();
    for number in 0..here.logits.windows() {
        for position in logits_file::positions(window) {
            let row = here.logits.row(number, position)?;
            let exact = exact.map(|exact| exact.logits.row(number, position)).transpose()?;
            score.add(exact.as_ref(), &row, Some(tokens[number * window + position + 1]));
        }
    }
    Ok(score)
}

/// Prints three lines for each format: those that are asked for, or all if none is, and llama.cpp's
/// files.
pub(crate) fn report(args: &QualityArgs, json: bool) -> Result<(), String> {
    let folder = match &args.path {
        None => builtin::folder(),
        Some(path) => {
            let found = resolve(&path.to_string_lossy(), &CacheLocations::from_env());
            Folder::from(found.map_err(|error| error.to_string())?.as_path())
        }
    };
    let workers = verbatim::sys::cpu::worker_count(None).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("quality", json, workers);
    report.section(&format!("{}, {}", folder.path().display(), args.text.display()));
    let Some((program, first, others)) = args.llama.named() else {
        let cases =
            if args.weights.is_empty() { cases(&folder) } else { chosen_cases(&folder, &args.weights)? };
        let mut table = Table { report: &report, exact: Exact::Ours(Vec::new()) };
        return cases.iter().try_for_each(|case| table.ours(case, args, &pool));
    };
    let window = args.window;
    if window < 4 || args.tokens < window {
        let tokens = args.tokens;
        return Err(format!(
            "--tokens {tokens}, --window {window}: one window of at least 4 tokens is needed"
        ));
    }
    let windows = args.tokens / window;
    let llama = Perplexity { program, text: &args.text, window, windows, threads: workers };
    let exact = llama.run(first)?;
    let (score, perplexity) = (score_of(&exact, None)?, exact.perplexity);
    let mut table = Table { report: &report, exact: Exact::Theirs(exact, llama::name_of(first)) };
    let size = |gguf: &Path| llama::size(gguf).map(|(bits, bytes)| (bytes, bits));
    table.lines(&llama::name_of(first), perplexity, &score, size(first)?);
    let all = FORMATS.iter().map(|format| format.name().to_owned()).skip(1).collect();
    let weights = if args.weights.is_empty() { &all } else { &args.weights };
    chosen_cases(&folder, weights)?.iter().try_for_each(|case| table.ours(case, args, &pool))?;
    let Exact::Theirs(exact, _) = &table.exact else { unreachable!("it was made of theirs") };
    for gguf in others {
        let here = llama.run(gguf)?;
        let score = score_of(&here, Some(exact)).map_err(|error| format!("{}: {error}", gguf.display()))?;
        table.lines(&llama::name_of(gguf), here.perplexity, &score, size(gguf)?);
    }
    Ok(())
}
