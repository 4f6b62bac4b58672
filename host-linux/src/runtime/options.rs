//! What can be chosen when a model is opened. Nothing here is parsed from text: a command line, a C
//! interface or a test fills in the values.
use crate::load::{Compress, ImageAccess, Pooling, WeightChoice};
use crate::text::parts::FormatChoice;
use std::path::PathBuf;
use verbatim_core::dtype::KvFormat;
use verbatim_core::engine::{Speculation, SpeculationMode};
use verbatim_core::isa::Isa;

/// The model to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelSource {
    /// The small demonstration model that is part of this library.
    #[default]
    BuiltIn,
    /// A checkpoint's directory, or an image file.
    Path(PathBuf),
    /// A path, or `ORG/NAME` in the local Hugging Face cache, as people type it.
    Named(String),
}

/// Where draft tokens come from: tokens that are verified together, for the same output sooner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Drafting {
    /// No token is drafted: each step yields one token a sequence.
    Off,
    /// From the request's own text, where that has paid so far.
    #[default]
    Lookup,
    /// From the request's own text, as many as fit at every step.
    LookupAlways,
    /// By the served model itself in int4, and from the text, where it pays. The model must be a
    /// checkpoint, for an image holds one format.
    SameModel,
    /// By another model with the same vocabulary, and from the text, where it pays.
    Model(ModelSource),
}

/// Draft tokens of a sequence in a step, at most. A few more rows cost little while the weights
/// have to be read anyway; how many of these pay, the engine finds out for each sequence.
const DRAFT_LEN_MAX: usize = 8;

impl Drafting {
    /// The engine's speculation, with costs as they are assumed before any is measured.
    pub fn speculation(&self) -> Speculation {
        match self {
            Self::Off => Speculation::OFF,
            Self::Lookup => Speculation::LOOKUP,
            Self::LookupAlways => Speculation { mode: SpeculationMode::Forced, ..Speculation::LOOKUP },
            Self::SameModel | Self::Model(_) => Speculation::AUTO,
        }
    }

    /// Draft tokens of a sequence in a step, at most.
    pub fn draft_len(&self) -> usize {
        if *self == Self::Off { 0 } else { DRAFT_LEN_MAX }
    }
}

/// A chat template that replaces the model's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateSource {
    /// What errors call it: usually the file that it was read from.
    pub name: String,
    /// The template's text, in Jinja.
    pub source: String,
}

/// The options of a model and its engine. [`Options::default`] serves the built-in model.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The model to open.
    pub model: ModelSource,
    /// How weights are stored. [`Options::compress`], the instruction set and the sequences that
    /// are served take the place of its own.
    pub weights: WeightChoice,
    /// Whether bf16 weights are stored in 12 bits each.
    pub compress: Compress,
    /// How the file of an image is used.
    pub access: ImageAccess,
    /// The format of keys and values; `None` is f32 with f32 weights, else bf16.
    pub kv_format: Option<KvFormat>,
    /// Worker threads, the engine's own included; `None` is what the machine is good for.
    pub workers: Option<usize>,
    /// The instruction set; `None` is the best of this CPU. All give the same bits.
    pub isa: Option<Isa>,
    /// Positions of a sequence, prompt and output together; `None` is the model's own maximum.
    pub max_model_len: Option<usize>,
    /// Sequences that run at once.
    pub max_seqs: usize,
    /// Sequences that wait; a request beyond them is refused.
    pub max_queue: usize,
    /// KV capacity in tokens, all sequences together; `None` is enough for all at full length, if
    /// that fits in 0.8 of free memory.
    pub kv_tokens: Option<usize>,
    /// Rows (tokens) of a step, at most.
    pub max_rows: usize,
    /// Where draft tokens come from.
    pub drafting: Drafting,
    /// The name under which the model is served; `None` is the last part of its path.
    pub served_name: Option<String>,
    /// More names under which it is served, such as those that clients ask for by default.
    pub aliases: Vec<String>,
    /// A chat template in place of the model's own.
    pub chat_template: Option<TemplateSource>,
    /// How the model writes calls and reasoning, in place of what its chat template tells.
    pub format: FormatChoice,
    /// How prompts are pooled to embeddings, in place of what the model's files say.
    pub pooling: Option<Pooling>,
    /// Milliseconds that a step should take at most, which bounds its rows once speed is known; 0
    /// is no bound. [`EngineHandle::start`](super::EngineHandle::start) takes it.
    pub step_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: ModelSource::BuiltIn,
            weights: WeightChoice::default(),
            compress: Compress::Auto,
            access: ImageAccess::default(),
            kv_format: None,
            workers: None,
            isa: None,
            max_model_len: None,
            max_seqs: 8,
            max_queue: 64,
            kv_tokens: None,
            max_rows: 512,
            drafting: Drafting::default(),
            served_name: None,
            aliases: Vec::new(),
            chat_template: None,
            format: FormatChoice::default(),
            pooling: None,
            step_ms: 200,
        }
    }
}

impl Options {
    /// How weights are stored for an instruction set.
    pub(super) fn weight_choice(&self, isa: Isa) -> WeightChoice {
        WeightChoice {
            compress: self.compress,
            isa: Some(isa),
            sequences: Some(self.max_seqs),
            ..self.weights
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_core::dtype::WeightFormat;

    #[test]
    fn weights_are_stored_for_the_instruction_set_and_the_sequences_that_are_served() {
        let weights = WeightChoice { head: Some(WeightFormat::Int8), ..WeightChoice::default() };
        let options = Options { max_seqs: 3, weights, ..Options::default() };
        let choice = options.weight_choice(Isa::PORTABLE);
        assert_eq!((choice.isa, choice.sequences), (Some(Isa::PORTABLE), Some(3)));
        assert_eq!((choice.format, choice.head), (None, Some(WeightFormat::Int8)));
        assert_eq!(choice.compress, Compress::Auto);
    }

    #[test]
    fn drafting_is_what_the_engine_does() {
        assert_eq!(Drafting::default(), Drafting::Lookup);
        assert_eq!(Drafting::Off.draft_len(), 0);
        assert_eq!(Drafting::Off.speculation(), Speculation::OFF);
        assert_eq!(Drafting::LookupAlways.speculation().mode, SpeculationMode::Forced);
        let other = Drafting::Model(ModelSource::BuiltIn);
        assert_eq!((other.draft_len(), other.speculation()), (DRAFT_LEN_MAX, Speculation::AUTO));
    }
}
