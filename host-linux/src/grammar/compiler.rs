//! From a source to a constraint: compiled once, then kept.
use super::cache::Cache;
use super::constraint::Constraint;
use super::error::GrammarError;
use super::gbnf;
use super::limits::{CACHE_BYTES, COMPILING_TIME, PARSERS_BYTES, REFUSALS_BYTES, STACK_BYTES, parser_limits};
use super::memory::Memory;
use super::source::{GrammarSource, schema_with_options};
use super::vocabulary::Vocabulary;
use crate::text::Tokenizer;
use llguidance::ParserFactory;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use serde_json::json;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a compiled grammar is taken to hold whatever its source: tables of the lexer.
const BYTES_MIN: usize = 128 << 10;
/// Bytes that a compiled grammar is taken to hold for each byte of its source.
const BYTES_EACH: usize = 64;
/// What a refusal is taken to hold: its text, and the hash that it is known by.
const REFUSAL_BYTES: usize = 1 << 10;

/// Compiles grammars for a model's vocabulary.
pub struct Compiler {
    tokenizer: Arc<Tokenizer>,
    limits: ParserLimits,
    /// Made when the first grammar comes: it takes a moment, and megabytes.
    factory: OnceLock<Result<ParserFactory, GrammarError>>,
    compiled: Mutex<Cache<Arc<Constraint>>>,
    /// Why sources were refused, by their hashes.
    refused: Mutex<Cache<GrammarError>>,
    /// Whether a grammar is being compiled.
    is_busy: Mutex<bool>,
    /// Told when it is not any more.
    is_free: Condvar,
    /// What the parsers of outputs hold.
    memory: Arc<Memory>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// A compiler for the vocabulary of a tokenizer.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self::with_limits(tokenizer, parser_limits(), PARSERS_BYTES)
    }

    /// A compiler of grammars that may cost so much, and whose parsers should hold so many bytes.
    pub(super) fn with_limits(tokenizer: Arc<Tokenizer>, limits: ParserLimits, parsers_bytes: usize) -> Self {
        Self {
            tokenizer,
            limits,
            factory: OnceLock::new(),
            compiled: Mutex::new(Cache::new(CACHE_BYTES)),
            refused: Mutex::new(Cache::new(REFUSALS_BYTES)),
            is_busy: Mutex::new(false),
            is_free: Condvar::new(),
            memory: Memory::new(parsers_bytes),
        }
    }

    /// Compiles a source, or finds it compiled or refused. Waits a little while another one is
    /// compiled.
    ///
    /// # Errors
    /// The source cannot be compiled, or only at a cost that no client gets; or others are compiled
    /// for too long ([`GrammarError::Busy`]).
    pub fn compile(&self, source: &GrammarSource) -> Result<Arc<Constraint>, GrammarError> {
        let key = source.key()?;
        if let Some(known) = self.known(&key) {
            return known;
        }
        if self.factory.get().is_none() {
            // That takes longer than most grammars, once; whoever comes now waits for it.
            on_a_deep_stack(|| self.factory().map(drop))?;
        }
        let _turn = self.turn()?;
        // Another client may have sent it while this one waited.
        if let Some(known) = self.known(&key) {
            return known;
        }
        match on_a_deep_stack(|| self.build(source, &key)) {
            Ok(constraint) => {
                let constraint = Arc::new(constraint);
                let bytes = BYTES_MIN + BYTES_EACH * key.len();
                lock(&self.compiled).insert(key, Arc::clone(&constraint), bytes);
                Ok(constraint)
            }
            Err(error) => {
                if error.is_final() {
                    let hash = blake3::hash(&key).as_bytes().to_vec();
                    lock(&self.refused).insert(hash, error.clone(), REFUSAL_BYTES);
                }
                Err(error)
            }
        }
    }

    /// What became of a source that was seen before.
    fn known(&self, key: &[u8]) -> Option<Result<Arc<Constraint>, GrammarError>> {
        let compiled = lock(&self.compiled).get(key).map(Ok);
        compiled.or_else(|| lock(&self.refused).get(blake3::hash(key).as_bytes()).map(Err))
    }

    /// The turn to compile, which ends when it is dropped.
    fn turn(&self) -> Result<Turn<'_>, GrammarError> {
        let wait = |busy| self.is_free.wait_timeout_while(busy, COMPILING_TIME, |is_busy| *is_busy);
        let (mut is_busy, _) = wait(lock(&self.is_busy)).unwrap_or_else(PoisonError::into_inner);
        if *is_busy {
            return Err(GrammarError::Busy);
        }
        *is_busy = true;
        Ok(Turn(self))
    }

    fn factory(&self) -> Result<&ParserFactory, GrammarError> {
        let make = || factory(&self.tokenizer, &self.limits);
        self.factory.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    fn build(&self, source: &GrammarSource, key: &[u8]) -> Result<Constraint, GrammarError> {
        let parser = self.factory()?.create_parser(grammar(source)?);
        let parser = parser.map_err(|error| GrammarError::told(&error.to_string()))?;
        Constraint::new(parser, &self.memory, key)
    }
}

/// The turn to compile a grammar.
struct Turn<'c>(&'c Compiler);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.is_busy) = false;
        self.0.is_free.notify_one();
    }
}

/// Does work on a thread that has [`STACK_BYTES`] of stack.
fn on_a_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, GrammarError> + Send,
) -> Result<T, GrammarError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("verbatim-grammar".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|_| GrammarError::Busy)?;
        // A panic was reported by the hook.
        thread.join().unwrap_or(Err(GrammarError::Failed))
    })
}

/// A lock that forgives a panic: what it guards is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The library's part that all grammars of a model share.
fn factory(tokenizer: &Arc<Tokenizer>, limits: &ParserLimits) -> Result<ParserFactory, GrammarError> {
    let vocabulary: TokEnv = Arc::new(Vocabulary::new(Arc::clone(tokenizer)));
    let slices = SlicedBiasComputer::general_slices();
    let factory = ParserFactory::new(&vocabulary, InferenceCapabilities::default(), &slices);
    let mut factory = factory.map_err(|error| GrammarError::told(&error.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = limits.clone();
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
