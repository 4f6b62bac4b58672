//! `--speculate`: where guesses come from, and the model that makes them, if one does.
use super::load;
use crate::load::builtin;
use crate::load::resolve::CacheLocations;
use crate::load::{Folder, ImageAccess, LoadedModel, Progress, WeightChoice, load_model, resolve};
use crate::pool::FutexPool;
use verbatim_core::cache::BLOCK;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::{DraftCache, DraftModel, Speculation, SpeculationMode};
use verbatim_core::model::{DraftModelSize, ModelConfig};

/// Tokens guessed at a time, at most. A few more rows cost little while the weights have to be read
/// anyway; how many of these pay, the engine finds out for each sequence.
const DRAFT_LEN: usize = 8;

/// What `--speculate` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speculate {
    /// No guesses.
    Off,
    /// From the request's own text, where they pay.
    Auto,
    /// From the request's own text, always.
    Lookup,
    /// By the same model in int4, and from the text, where they pay.
    Itself,
    /// By the model that this names, and from the text, where they pay.
    Other(String),
}

impl Speculate {
    /// From the flag; none is [`Speculate::Auto`].
    pub fn from_name(name: Option<&str>) -> Self {
        match name {
            None | Some("auto") => Self::Auto,
            Some("off") => Self::Off,
            Some("lookup") => Self::Lookup,
            Some("self") => Self::Itself,
            Some(other) => Self::Other(other.to_owned()),
        }
    }

    /// As the engine takes it.
    pub fn speculation(&self) -> Speculation {
        match self {
            Self::Off => Speculation::OFF,
            Self::Auto => Speculation::LOOKUP,
            Self::Lookup => Speculation { mode: SpeculationMode::Forced, ..Speculation::LOOKUP },
            Self::Itself | Self::Other(_) => Speculation::AUTO,
        }
    }

    /// Tokens guessed at a time, at most.
    pub fn draft_len(&self) -> usize {
        if *self == Self::Off { 0 } else { DRAFT_LEN }
    }
}

/// A model that drafts, loaded.
#[derive(Debug)]
pub struct Drafter {
    /// Its weights.
    pub loaded: LoadedModel,
    /// Where its keys and values lie.
    pub cache: DraftCache,
}

impl Drafter {
    /// Loads the one that is asked for, to draft for a model that was loaded from `model` by that
    /// choice and has this configuration.
    pub(super) fn load(
        speculate: &Speculate,
        model: Option<&str>,
        config: &ModelConfig,
        weights: WeightChoice,
        (access, pool, progress): (ImageAccess, &FutexPool, &dyn Progress),
    ) -> Result<Option<Self>, String> {
        match speculate {
            Speculate::Off | Speculate::Auto | Speculate::Lookup => Ok(None),
            Speculate::Itself => {
                if config.weight_format == WeightFormat::Int4 {
                    return Err(
                        "--speculate self: the model is served in int4, and a draft of it would be too"
                            .to_owned(),
                    );
                }
                let loaded =
                    load_model(&source(model)?, WeightChoice::all(WeightFormat::Int4), pool, progress);
                let loaded = loaded.map_err(|error| format!("--speculate self: {error}"))?;
                Ok(Some(Self { loaded, cache: DraftCache::Shared }))
            }
            Speculate::Other(path) => {
                // In the format that it is in, for the same path and as many sequences.
                let own = WeightChoice {
                    path: weights.path,
                    sequences: weights.sequences,
                    ..WeightChoice::default()
                };
                let (loaded, _) = load(Some(path), own, access, pool, progress)
                    .map_err(|error| format!("--speculate: {error}"))?;
                let (found, expected) = (loaded.model().config().vocab_size, config.vocab_size);
                if found != expected {
                    return Err(format!(
                        "--speculate {path}: found a vocabulary of {found} ids, expected the model's {expected}"
                    ));
                }
                Ok(Some(Self { loaded, cache: DraftCache::Own }))
            }
        }
    }

    /// Bytes of keys and values beside those of the served model.
    pub(super) fn kv_bytes(&self, format: KvFormat, sequences: usize, model_len: usize) -> u64 {
        let blocks = sequences.saturating_mul(model_len.div_ceil(BLOCK));
        match self.cache {
            DraftCache::Shared => 0,
            DraftCache::Own => self.loaded.model().config().kv_layout(format, blocks).total_bytes() as u64,
        }
    }

    /// As the engine takes it.
    pub fn model(&self) -> DraftModel<'_> {
        DraftModel { model: self.loaded.model(), cache: self.cache }
    }

    /// What memory is planned from.
    pub fn planned(&self) -> DraftModelSize {
        DraftModelSize { config: *self.loaded.model().config(), cache: self.cache }
    }
}

/// The checkpoint that a model was loaded from.
fn source(model: Option<&str>) -> Result<Folder, String> {
    let Some(model) = model else { return Ok(builtin::folder()) };
    let path = resolve(model, &CacheLocations::from_env()).map_err(|error| error.to_string())?;
    if path.is_dir() {
        return Ok(Folder::from(path.as_path()));
    }
    Err(format!(
        "--speculate self: {} is an image, which holds the model in one format; serve the checkpoint, or give --speculate an image \
         packed with --weights int4",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        assert_eq!(Speculate::from_name(None), Speculate::Auto);
        assert_eq!(Speculate::from_name(Some("off")).draft_len(), 0);
        assert_eq!(Speculate::from_name(Some("lookup")).speculation().mode, SpeculationMode::Forced);
        let other = Speculate::from_name(Some("./small"));
        assert_eq!(
            (other.clone(), other.speculation()),
            (Speculate::Other("./small".to_owned()), Speculation::AUTO)
        );
    }
}
