//! Options to a model that can be served: loaded, with its tokenizer, its limits, its memory
//! planned, and its fingerprint.
use super::draft_model::{LoadedDraftModel, Served};
use super::error::OpenError;
use super::loader::Loader;
use super::note::Note;
use super::options::Options;
use super::sizing::{self, KvDemand};
use crate::grammar::Compiler;
use crate::load::{EmbeddingConfig, LoadedModel, Progress, RuntimeChoices, short_form};
use crate::sys::cpu::{WorkerCount, allow_matrix_unit, available_memory, worker_count};
use crate::sys::pool::FutexPool;
use crate::text::parts::{ModelFormat, ReasoningSyntax, ToolSyntax};
use crate::text::{ChatTemplate, Tokenizer};
use std::sync::Arc;
use verbatim_core::dtype::KvFormat;
use verbatim_core::engine::{DraftCache, EngineLimits, MemoryPlan, Speculation};
use verbatim_core::isa::Isa;

/// A model that can be served.
#[derive(Debug)]
pub struct ServedModel {
    /// The weights, with the files beside them.
    pub loaded: LoadedModel,
    /// Text to ids and back. Generations share it.
    pub tokenizer: Arc<Tokenizer>,
    /// What compiles grammars for its tokens.
    pub grammars: Compiler,
    /// The chat template, if there is one.
    pub template: Option<ChatTemplate>,
    /// How it writes calls and reasoning.
    pub format: ModelFormat,
    /// How it makes embeddings, or a sentence that says why it makes none.
    pub embedding: Result<EmbeddingConfig, String>,
    /// What the engine is sized for.
    pub limits: EngineLimits,
    /// The memory of the engine.
    pub plan: MemoryPlan,
    /// The instruction set that computes; all give the same bits.
    pub isa: Isa,
    /// The worker threads, on which all steps run.
    pub pool: FutexPool,
    /// How many workers there are, and what bounds their number.
    pub workers: WorkerCount,
    /// Where draft tokens come from.
    pub speculation: Speculation,
    /// The draft model, if there is one.
    pub draft_model: Option<LoadedDraftModel>,
    /// The name under which it is served, which answers carry.
    pub name: String,
    /// More names under which it is served.
    pub aliases: Vec<String>,
    /// The short form of the fingerprint.
    pub fingerprint: String,
    /// What a user may not expect of it.
    pub notes: Vec<Note>,
}

impl ServedModel {
    /// Opens a model as the options say, which for a checkpoint means to read and pack all weights.
    pub fn open(options: &Options, progress: &dyn Progress) -> Result<Self, OpenError> {
        allow_matrix_unit();
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let workers = worker_count(options.workers);
        let pool = FutexPool::new(workers.workers)
            .map_err(|error| OpenError::Workers { workers: workers.workers, error })?;
        let loader = Loader { access: options.access, pool: &pool, progress };
        let weights = options.weight_choice(isa);
        let (loaded, default_name) = loader.load(&options.model, weights)?;
        let config = *loaded.model().config();
        let (tokenizer, template) = text_of(&loaded, options)?;
        let tokenizer = Arc::new(tokenizer);
        let kv_format = options.kv_format.unwrap_or_else(|| sizing::default_kv_format(config.weight_format));
        let model_len = sizing::context(options.max_model_len, config.position_count)?;
        let served = Served { source: &options.model, config: &config, weights };
        let draft_model = LoadedDraftModel::load(&options.drafting, served, &loader)?;
        let demand = kv_demand(options, &loaded, draft_model.as_ref(), (kv_format, model_len));
        let size = sizing::kv_size(&demand)?;
        let limits = sizing::engine_limits(options, size, kv_format, workers.workers);
        let planned = draft_model.as_ref().map(LoadedDraftModel::planned);
        let plan = MemoryPlan::with_draft_model(&config, planned.as_ref(), &limits)?;
        let choices = RuntimeChoices {
            kv_format,
            kv_group: kv_format.group(config.head_dim),
            model_len: size.model_len,
            chat_template: options.chat_template.as_ref().map(|template| template.source.as_str()),
            pooling: options.pooling,
            tool_parser: options.format.tools.map(ToolSyntax::name),
            reasoning_parser: options
                .format
                .reasoning
                .map(|chosen| chosen.map_or("off", ReasoningSyntax::name)),
        };
        let fingerprint = short_form(&loaded.fingerprint(&choices));
        let embedding = EmbeddingConfig::read(|name| loaded.file(name), options.pooling);
        let mut notes = notes_of(&loaded, draft_model.as_ref());
        if size.model_len < model_len {
            notes.push(Note::ContextCut { capacity: size.model_len, model_len });
        }
        Ok(Self {
            loaded,
            grammars: Compiler::new(Arc::clone(&tokenizer)),
            tokenizer,
            format: ModelFormat::of(template.as_ref().map(ChatTemplate::source), options.format),
            template,
            embedding,
            limits,
            plan,
            isa,
            pool,
            workers,
            speculation: options.drafting.speculation(),
            draft_model,
            name: options.served_name.clone().unwrap_or(default_name),
            aliases: options.aliases.clone(),
            fingerprint,
            notes,
        })
    }
}

impl ServedModel {
    /// All names under which it is served, its own first, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let is_new =
            |(at, name): &(usize, &String)| **name != self.name && !self.aliases[..*at].contains(name);
        let others = self.aliases.iter().enumerate().filter(is_new).map(|(_, name)| name.as_str());
        std::iter::once(self.name.as_str()).chain(others)
    }

    /// Whether it is served under a name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}

/// The tokenizer, and the chat template if there is one.
fn text_of(loaded: &LoadedModel, options: &Options) -> Result<(Tokenizer, Option<ChatTemplate>), OpenError> {
    let Some(json) = loaded.file("tokenizer.json") else {
        return Err(OpenError::NoTokenizer { path: loaded.path().to_owned() });
    };
    let tokenizer = Tokenizer::new(json, loaded.file("tokenizer_config.json"))?;
    let given = options.chat_template.as_ref().map(|given| (given.name.as_str(), given.source.as_str()));
    let template = ChatTemplate::find(given, loaded.file("chat_template.jinja"), tokenizer.config())?;
    Ok((tokenizer, template))
}

/// What the size of the KV cache depends on, with the memory that is free now.
fn kv_demand(
    options: &Options,
    loaded: &LoadedModel,
    draft_model: Option<&LoadedDraftModel>,
    (kv_format, model_len): (KvFormat, usize),
) -> KvDemand {
    let sequences = options.max_seqs;
    KvDemand {
        model_len,
        is_model_len_given: options.max_model_len.is_some(),
        sequences,
        kv_tokens: options.kv_tokens,
        block_bytes: loaded.model().config().kv_layout(kv_format, 1).total_bytes() as u64,
        draft_bytes: draft_model.map_or(0, |draft| draft.kv_bytes(kv_format, sequences, model_len)),
        free_bytes: available_memory().map(|bytes| beside_mapped(bytes, mapped_bytes(loaded, draft_model))),
    }
}

/// What is free of `bytes` beside mapped images, whose pages come in as they are used and must then
/// stay. Beside images larger than memory, which are read over and over, an eighth is.
fn beside_mapped(bytes: u64, mapped_bytes: u64) -> u64 {
    bytes.saturating_sub(mapped_bytes).max(bytes / 8)
}

/// Bytes of the mapped images among both models.
fn mapped_bytes(loaded: &LoadedModel, draft_model: Option<&LoadedDraftModel>) -> u64 {
    let draft = draft_model.map(|draft| &draft.loaded);
    let mapped = std::iter::once(loaded).chain(draft).filter(|model| model.is_mapped());
    mapped.map(|model| model.image().len() as u64).sum()
}

/// The notes of the served model, and of a draft model that is another.
fn notes_of(loaded: &LoadedModel, draft_model: Option<&LoadedDraftModel>) -> Vec<Note> {
    let draft = draft_model.filter(|draft| draft.cache == DraftCache::Own);
    let draft = draft.map_or(&[][..], |draft| draft.loaded.notes());
    let served = loaded.notes().iter().cloned().map(Note::Model);
    served.chain(draft.iter().cloned().map(Note::DraftModel)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_weights_are_not_free_memory() {
        assert_eq!(beside_mapped(8000, 0), 8000);
        assert_eq!(beside_mapped(8000, 6000), 2000);
        assert_eq!(beside_mapped(8000, 9000), 1000, "a model larger than memory still starts");
    }
}
