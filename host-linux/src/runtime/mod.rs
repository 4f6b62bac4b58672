//! A model with its engine running, for any program that embeds one. Nothing here prints, reads
//! flags or needs a process of its own.
//!
//! ```no_run
//! use std::sync::Arc;
//! use verbatim::load::NoProgress;
//! use verbatim::runtime::{EngineHandle, Generation, Options, OwnedRequest, ServedModel};
//! use verbatim_core::sampling::SamplingParams;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::default();
//! let model = Arc::new(ServedModel::open(&options, &NoProgress)?);
//! let (engine, thread) = EngineHandle::start(Arc::clone(&model), options.step_ms)?;
//! let prompt = model.tokenizer.encode("The capital of France is", true)?;
//! let request = OwnedRequest::new(prompt, SamplingParams::GREEDY, 8);
//! for event in Generation::start(&engine, vec![request], &[])? {
//!     println!("{event:?}");
//! }
//! engine.stop();
//! let _ = thread.join();
//! # Ok(())
//! # }
//! ```
//!
//! * [`options`]: what can be chosen. [`error`]: what can go wrong. [`note`]: what a user may not
//!   expect.
//! * [`model`]: options to a [`ServedModel`]. `loader`: from its source to its weights. [`sizing`]:
//!   its limits, from options and free memory. [`draft_model`]: a second model, which proposes
//!   tokens.
//! * [`engine`]: the thread that runs the engine, and the one that starts it again after a panic,
//!   as [`supervision`] says; callers talk to it through queues. [`panic_text`]: what is told of a
//!   panic. [`pacing`]: how much a step does, and what draft tokens cost. [`meters`]: counters and
//!   histograms. [`timing`]: when a choice came how far.
//! * [`embedding`]: prompts as vectors, of the hidden states that [`pooling`] gathers.
//! * [`generation`]: requests as text, in the order in which it comes, as [`event`]s. `choice`: one
//!   choice's tokens detokenized, stop strings honoured.
//!
//! ```text
//! OwnedRequest ──► Generation ──► EngineHandle ──► Command ──► engine thread ──► core's engine
//!      TextEvent ◄── choice ◄────── TokenEvent ◄── queue ◄──── engine thread ◄── core's Event
//! ```
mod choice;
pub mod draft_model;
pub mod embedding;
pub mod engine;
pub mod error;
pub mod event;
pub mod generation;
mod loader;
pub mod meters;
pub mod model;
pub mod note;
pub mod options;
pub mod pacing;
pub mod panic_text;
pub mod pooling;
pub mod request;
pub mod restriction;
pub mod sizing;
pub mod supervision;
pub mod timing;

pub use draft_model::LoadedDraftModel;
pub use embedding::{Embedded, Embedding, EmbeddingError, embed};
pub use engine::{
    EngineGauges, EngineHandle, EngineNotice, EngineStats, EngineView, EngineWatch, LiveSequence,
    RunningStep, StepClass, StepView, Ticket, TokenEvent, TokenEventKind,
};
pub use error::{
    DraftError, EngineError, EngineFailure, GenerationError, Limit, LimitError, OpenError, SubmitError,
};
pub use event::{Delta, Ending, Heard, PromptToken, StopCause, TextEvent, TextEventKind};
pub use generation::{CHOICES_MAX, Generation};
pub use model::ServedModel;
pub use note::Note;
pub use options::{Drafting, ModelSource, Options, TemplateSource};
pub use request::OwnedRequest;
pub use restriction::Restriction;
pub use supervision::Supervision;
pub use timing::{ChoiceTimes, TokenMeters};
