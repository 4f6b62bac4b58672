//! From a source to a constraint: compiled once, then kept.
use super::cache::Cache;
use super::constraint::Constraint;
use super::error::GrammarError;
use super::gbnf;
use super::limits::{CACHE_BYTES, STACK_BYTES, parser_limits};
use super::source::{GrammarSource, schema_with_options};
use super::vocabulary::Vocabulary;
use crate::text::Tokenizer;
use llguidance::ParserFactory;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Compiles grammars for a model's vocabulary.
pub struct Compiler {
    tokenizer: Arc<Tokenizer>,
    /// Made when the first grammar comes: it takes a moment, and megabytes.
    factory: OnceLock<Result<ParserFactory, GrammarError>>,
    compiled: Mutex<Cache<Constraint>>,
    /// Held while a grammar is compiled.
    compiling: Mutex<()>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// A compiler for the vocabulary of a tokenizer.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            tokenizer,
            factory: OnceLock::new(),
            compiled: Mutex::new(Cache::new(CACHE_BYTES)),
            compiling: Mutex::new(()),
        }
    }

    /// Compiles a source, or finds it compiled. Blocks while another one is compiled.
    ///
    /// # Errors
    /// The source cannot be compiled, or only at a cost that no client gets.
    pub fn compile(&self, source: &GrammarSource) -> Result<Arc<Constraint>, GrammarError> {
        let key = source.key()?;
        if let Some(found) = lock(&self.compiled).get(&key) {
            return Ok(found);
        }
        let _one_at_a_time = lock(&self.compiling);
        // Another client may have sent it while this one waited.
        if let Some(found) = lock(&self.compiled).get(&key) {
            return Ok(found);
        }
        let constraint = Arc::new(self.on_a_deep_stack(source)?);
        lock(&self.compiled).insert(key, Arc::clone(&constraint));
        Ok(constraint)
    }

    fn on_a_deep_stack(&self, source: &GrammarSource) -> Result<Constraint, GrammarError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("verbatim-grammar".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || self.build(source))
                .map_err(|_| GrammarError::Busy)?;
            // A panic was reported by the hook.
            thread.join().unwrap_or(Err(GrammarError::Failed))
        })
    }

    fn build(&self, source: &GrammarSource) -> Result<Constraint, GrammarError> {
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer)).as_ref().map_err(Clone::clone)?;
        let parser = factory.create_parser(grammar(source)?);
        Constraint::new(parser.map_err(|error| GrammarError::told(&error.to_string()))?)
    }
}

/// A lock that forgives a panic: what it guards is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The library's part that all grammars of a model share.
fn factory(tokenizer: &Arc<Tokenizer>) -> Result<ParserFactory, GrammarError> {
    let vocabulary: TokEnv = Arc::new(Vocabulary::new(Arc::clone(tokenizer)));
    let slices = SlicedBiasComputer::general_slices();
    let factory = ParserFactory::new(&vocabulary, InferenceCapabilities::default(), &slices);
    let mut factory = factory.map_err(|error| GrammarError::told(&error.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = parser_limits();
    Ok(factory)
}

/// A source as the library takes it.
fn grammar(source: &GrammarSource) -> Result<TopLevelGrammar, GrammarError> {
    Ok(match source {
        GrammarSource::JsonObject => {
            TopLevelGrammar::from_json_schema(schema_with_options(&json!({"type": "object"}))?)
        }
        GrammarSource::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema_with_options(schema)?),
        GrammarSource::Regex(regex) if regex.is_empty() => return Err(GrammarError::Unsatisfiable),
        GrammarSource::Regex(regex) => TopLevelGrammar::from_regex(regex),
        GrammarSource::Choice(choices) => {
            let choices: Vec<_> = choices.iter().map(|choice| gbnf::quoted(choice)).collect();
            TopLevelGrammar::from_lark(format!("start: CHOICE\nCHOICE: {}\n", choices.join(" | ")))
        }
        GrammarSource::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
        GrammarSource::Gbnf(text) => {
            TopLevelGrammar::from_lark(gbnf::to_lark(text).map_err(GrammarError::Invalid)?)
        }
    })
}
