//! What can be chosen when a model is started.
use crate::load::{ImageAccess, WeightChoice};
use verbatim_core::isa::Isa;

/// The options of a model and its engine, as flags give them.
#[derive(Clone, Debug)]
pub struct Options {
    /// A path, or `ORG/NAME`; none is the built-in model.
    pub model: Option<String>,
    /// The name of a weight format; none is the source's own.
    pub weights: Option<String>,
    /// The head's, or `same`; none is as the weights.
    pub head: Option<String>,
    /// `auto`, `on` or `off`; none is `auto`.
    pub compress: Option<String>,
    /// How an image's file is used.
    pub access: ImageAccess,
    /// `f32`, `bf16` or `int8`; none is as the weights.
    pub kv: Option<String>,
    /// Workers; none is what the machine is good for.
    pub threads: Option<usize>,
    /// `auto` or the name of a path.
    pub isa: String,
    /// Positions of a sequence; none is the model's.
    pub max_model_len: Option<usize>,
    /// Sequences that run at once.
    pub max_seqs: usize,
    /// Sequences that wait.
    pub max_queue: usize,
    /// KV capacity in tokens; none is what memory allows.
    pub kv_tokens: Option<usize>,
    /// Rows of a step.
    pub max_rows: usize,
    /// Time a step should take at most, in milliseconds; bounds its rows once speed is known.
    pub step_ms: u64,
    /// `off`, `auto`, `lookup`, `self`, or a model that drafts; none is `auto`.
    pub speculate: Option<String>,
    /// The name under which the model is served.
    pub served_model_name: Option<String>,
    /// A chat template's file and text.
    pub chat_template_source: Option<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: None,
            weights: None,
            head: None,
            compress: None,
            access: ImageAccess::default(),
            kv: None,
            threads: None,
            isa: "auto".to_owned(),
            max_model_len: None,
            max_seqs: 8,
            max_queue: 64,
            kv_tokens: None,
            max_rows: 512,
            step_ms: 200,
            speculate: None,
            served_model_name: None,
            chat_template_source: None,
        }
    }
}

impl Options {
    /// How weights are stored for that path.
    pub(super) fn weight_choice(&self, isa: Isa) -> Result<WeightChoice, String> {
        let choice = WeightChoice::from_names(
            self.weights.as_deref(),
            self.head.as_deref(),
            self.compress.as_deref(),
        )?;
        Ok(WeightChoice { path: Some(isa), sequences: Some(self.max_seqs), ..choice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Compress;
    use verbatim_core::dtype::WeightFormat;

    #[test]
    fn weights_are_stored_for_the_path_and_the_sequences_that_are_served() {
        let options = Options { max_seqs: 3, head: Some("int8".to_owned()), ..Options::default() };
        let choice = options.weight_choice(Isa::PORTABLE).unwrap();
        assert_eq!((choice.path, choice.sequences), (Some(Isa::PORTABLE), Some(3)));
        assert_eq!((choice.format, choice.head), (None, Some(WeightFormat::Int8)));
        assert_eq!(choice.compress, Compress::Auto);
        let unknown = Options { compress: Some("yes".to_owned()), ..options };
        assert_eq!(
            unknown.weight_choice(Isa::PORTABLE).unwrap_err(),
            "--compress yes: expected auto, on or off"
        );
    }
}
