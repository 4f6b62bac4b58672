//! A model with everything it needs to serve: text, memory, pool, and the thread that owns the
//! engine.
//!
//! * [`open`](ServedModel::open): options to a loaded model, its tokenizer, its plan and its
//!   fingerprint.
//! * [`engine_thread`]: the thread that runs the engine; callers talk to it through queues.
//!   `step_budget`: how much a step does; [`costs`]: what guesses cost.
//! * [`generation`]: requests as text, in the order in which it comes; `choice`: detokenized, stop
//!   strings honoured, and taken up where another engine left it.
//! * [`speculation`]: `--speculate`, and the model that drafts.
mod choice;
pub mod costs;
pub mod engine_thread;
pub mod generation;
pub mod options;
pub mod request;
pub mod speculation;
mod step_budget;

pub use engine_thread::EngineHandle;
pub use generation::{Delta, Ending, Generation, Part};
pub use options::Options;
pub use request::OwnedRequest;
pub use speculation::{Drafter, Speculate};

use crate::load::resolve::CacheLocations;
use crate::load::{
    ImageAccess, LoadedModel, Progress, RuntimeChoices, WeightChoice, builtin, image_file, load_model,
    resolve, short_form,
};
use crate::pool::FutexPool;
use crate::sys::cpu::{WorkerCount, allow_matrix_unit, available_memory, worker_count};
use crate::text::{ChatTemplate, Tokenizer};
use verbatim_core::cache::BLOCK;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::{DraftCache, EngineLimits, MemoryPlan, MemoryPlanError, Speculation};
use verbatim_core::isa::Isa;

/// A model that can be served.
#[derive(Debug)]
pub struct ServedModel {
    /// The weights.
    pub loaded: LoadedModel,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// The chat template, if there is one.
    pub template: Option<ChatTemplate>,
    /// What the engine is sized for.
    pub limits: EngineLimits,
    /// Its memory.
    pub plan: MemoryPlan,
    /// The instruction set.
    pub isa: Isa,
    /// The threads.
    pub pool: FutexPool,
    /// How many, and why.
    pub workers: WorkerCount,
    /// Where guesses come from.
    pub speculation: Speculation,
    /// The model that makes them, if one does.
    pub drafter: Option<Drafter>,
    /// The name under which it is served.
    pub name: String,
    /// The short form of the fingerprint.
    pub fingerprint: String,
}

impl ServedModel {
    /// Says on standard error what a user may not expect of the model.
    pub(crate) fn tell_notes(&self) {
        for note in self.loaded.notes() {
            eprintln!("note: {note}");
        }
    }

    /// Loads a model as the options say. Errors are one line.
    pub fn open(options: &Options, progress: &dyn Progress) -> Result<Self, String> {
        allow_matrix_unit();
        let isa = Isa::from_name(&options.isa).ok_or_else(|| {
            let known: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
            format!("--isa {}: this CPU has {}", options.isa, known.join(", "))
        })?;
        let workers = worker_count(options.threads);
        let pool = FutexPool::new(workers.workers).map_err(|error| format!("--threads: {error}"))?;
        let weights = options.weight_choice(isa)?;
        let (mut loaded, default_name) =
            load(options.model.as_deref(), weights, options.access, &pool, progress)?;
        let config = *loaded.model().config();
        let (tokenizer, template) = text_of(&loaded, options)?;
        let kv_format = match options.kv.as_deref() {
            None if config.weight_format == WeightFormat::F32 => KvFormat::F32,
            None => KvFormat::Bf16,
            Some(name) => {
                KvFormat::from_name(name).ok_or_else(|| format!("--kv {name}: expected f32, bf16 or int8"))?
            }
        };
        let mut model_len = options.max_model_len.unwrap_or(config.position_count);
        if model_len == 0 || model_len > config.position_count {
            return Err(format!(
                "--max-model-len {model_len}: expected between 1 and the model's {}",
                config.position_count
            ));
        }
        let speculate = Speculate::from_name(options.speculate.as_deref());
        let drafter = Drafter::load(
            &speculate,
            options.model.as_deref(),
            &config,
            weights,
            (options.access, &pool, progress),
        )?;
        if let Some(Drafter { loaded: drafting, cache: DraftCache::Own }) = &drafter {
            loaded.notes.extend(drafting.notes().iter().map(|note| format!("the model that drafts: {note}")));
        }
        let wanted = options.max_seqs.saturating_mul(model_len).next_multiple_of(BLOCK);
        let block_bytes = config.kv_layout(kv_format, 1).total_bytes() as u64;
        // Planes of a draft model's own hold every sequence at full length.
        let drafting =
            drafter.as_ref().map_or(0, |drafter| drafter.kv_bytes(kv_format, options.max_seqs, model_len));
        let fits = available_memory().map_or(usize::MAX, |bytes| {
            let bytes = bytes.saturating_sub(drafting);
            usize::try_from(bytes / 10 * 8 / block_bytes).unwrap_or(usize::MAX).saturating_mul(BLOCK)
        });
        let kv_tokens = options.kv_tokens.unwrap_or(wanted.min(fits));
        let capacity = kv_tokens.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        if (1..model_len).contains(&capacity) {
            // A sequence that can never fit would be refused each time; so it is said once, now.
            if options.max_model_len.is_some() {
                let flag = if options.kv_tokens.is_some() { "--kv-tokens" } else { "memory for" };
                return Err(format!(
                    "{flag} {kv_tokens} tokens: expected at least --max-model-len {model_len}"
                ));
            }
            loaded
                .notes
                .push(format!("the context is {capacity} tokens, not {model_len}: that is the KV capacity"));
            model_len = capacity;
        }
        let limits = EngineLimits {
            model_len,
            sequences: options.max_seqs,
            queue: options.max_queue,
            kv_tokens,
            rows: options.max_rows,
            head_rows: (options.max_seqs.saturating_mul(1 + speculate.draft_len()))
                .min(options.max_rows)
                .min(32),
            kv_format,
            workers: workers.workers,
            draft_len: speculate.draft_len(),
            top_logprobs: 20,
            logit_bias: 300,
            stop_ids: 64,
        };
        let planned = drafter.as_ref().map(Drafter::planned);
        let planned = planned.as_ref().map(|(config, cache)| (config, *cache));
        let plan = MemoryPlan::with_drafter(&config, &limits, planned).map_err(in_flags)?;
        let choices = RuntimeChoices {
            kv_format,
            kv_group: kv_format.group(config.head_dim),
            model_len,
            chat_template: options.chat_template_source.as_ref().map(|(_, source)| source.as_str()),
        };
        let fingerprint = short_form(&loaded.fingerprint(&choices));
        let name = options.served_model_name.clone().unwrap_or(default_name);
        Ok(Self {
            loaded,
            tokenizer,
            template,
            limits,
            plan,
            isa,
            pool,
            workers,
            speculation: speculate.speculation(),
            drafter,
            name,
            fingerprint,
        })
    }
}

/// A limit's error, in the words of the flag that set it.
fn in_flags(error: MemoryPlanError) -> String {
    if let MemoryPlanError::Drafter { .. } = error {
        return format!("--speculate: {error}");
    }
    let MemoryPlanError::Limit { field, found, least, most } = error else { return error.to_string() };
    let flag = match field {
        "model_len" => "--max-model-len",
        "sequences" => "--max-seqs",
        "queue" => "--max-queue",
        "kv_tokens" => "--kv-tokens",
        "rows" => "--max-rows",
        "workers" => "--threads",
        _ => field,
    };
    format!("{flag} {found}: expected between {least} and {most}")
}

/// Loads what `--model` names, the built-in model without it; and the name under which it is
/// served.
fn load(
    model: Option<&str>,
    weights: WeightChoice,
    access: ImageAccess,
    pool: &FutexPool,
    progress: &dyn Progress,
) -> Result<(LoadedModel, String), String> {
    let Some(model) = model else {
        let loaded = load_model(&builtin::folder(), weights, pool, progress);
        return Ok((loaded.map_err(|error| error.to_string())?, builtin::NAME.to_owned()));
    };
    let path = resolve(model, &CacheLocations::from_env()).map_err(|error| error.to_string())?;
    let loaded =
        image_file::load(&path, weights, access, pool, progress).map_err(|error| error.to_string())?;
    let from_cache = model.contains('/') && !path.ends_with(model);
    let file_name = path.file_name().filter(|_| !from_cache);
    Ok((loaded, file_name.map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())))
}

fn text_of(loaded: &LoadedModel, options: &Options) -> Result<(Tokenizer, Option<ChatTemplate>), String> {
    let Some(json) = loaded.file("tokenizer.json") else {
        return Err(format!("{}: no tokenizer.json", loaded.path().display()));
    };
    let tokenizer =
        Tokenizer::new(json, loaded.file("tokenizer_config.json")).map_err(|error| error.to_string())?;
    let given = options.chat_template_source.as_ref().map(|(file, source)| (file.as_str(), source.as_str()));
    let template = ChatTemplate::find(given, loaded.file("chat_template.jinja"), tokenizer.config());
    Ok((tokenizer, template.map_err(|error| error.to_string())?))
}
