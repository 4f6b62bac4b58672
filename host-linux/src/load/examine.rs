//! What a model is, from its headers alone: whether it can be loaded, and what it would take in
//! each format. No weight is read.
use super::choice::WeightChoice;
use super::error::LoadError;
use super::folder::Folder;
use super::pack::{config_of, open};
use super::plan::Plan;
use super::stored::{StoredWeights, stored_weights};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::model::ModelConfig;
use verbatim_core::model::image::ImageLayout;

/// The formats of `Examined::formats`: what users choose from.
const FORMATS: [WeightFormat; 6] = [
    WeightFormat::F32,
    WeightFormat::Bf16,
    WeightFormat::Int8,
    WeightFormat::Int6,
    WeightFormat::Int5,
    WeightFormat::Int4,
];

/// A model that can be loaded.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Its shape, in the format that it has where none is chosen.
    pub config: ModelConfig,
    /// The types of its weights, most weights first.
    pub stored: Vec<StoredWeights>,
    /// Each format in which it can be served, and the bytes that its weights take so.
    pub formats: Vec<(WeightFormat, u64)>,
    /// Whether it brings a tokenizer, without which it has only embeddings of token ids.
    pub has_tokenizer: bool,
}

impl Examined {
    /// Weights in all, those of a tied head once.
    pub fn weight_count(&self) -> u64 {
        self.stored.iter().map(|weights| weights.weight_count).sum()
    }
}

/// Reads the configuration and the headers of the model in a folder, as loading it does first.
pub fn examine(folder: &Folder) -> Result<Examined, LoadError> {
    let opened = open(folder)?;
    let mut config = config_of(folder.path(), &opened.beside)?.model;
    config.tied_head |= opened.checkpoint.is_bare;
    let plan = Plan::new(&config, &opened.checkpoint)?;
    let own = plan.own_format();
    let bytes_as = |format: WeightFormat| {
        let mut as_format = config;
        WeightChoice { format: Some(format), ..WeightChoice::default() }.apply(own, &mut as_format);
        let layout = ImageLayout::new(&as_format, &[]).ok()?;
        Some((format, layout.weight_bytes() as u64))
    };
    let formats = FORMATS.into_iter().filter_map(bytes_as).collect();
    WeightChoice::default().apply(own, &mut config);
    let has_tokenizer = opened.beside.iter().any(|(name, file)| *name == "tokenizer.json" && file.is_some());
    Ok(Examined { config, stored: stored_weights(&plan, &config), formats, has_tokenizer })
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    #[test]
    fn the_built_in_model_is_known_without_its_weights() {
        let found = examine(&builtin::folder()).unwrap();
        assert!(found.has_tokenizer);
        assert_eq!(found.formats.len(), FORMATS.len());
        let bytes = |format| found.formats.iter().find(|(f, _)| *f == format).unwrap().1;
        assert!(bytes(WeightFormat::F32) > bytes(WeightFormat::Bf16));
        assert!(bytes(WeightFormat::Bf16) > bytes(WeightFormat::Int8));
        assert!(bytes(WeightFormat::Int8) > bytes(WeightFormat::Int4));
        assert!(found.weight_count() > 1_000_000, "{}", found.weight_count());
    }
}
