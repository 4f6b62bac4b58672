//! From a [`ModelSource`] to a loaded model and its name.
use super::options::ModelSource;
use crate::load::resolve::CacheLocations;
use crate::load::{
    ImageAccess, LoadError, LoadedModel, Progress, WeightChoice, builtin, image_file, load_model, resolve,
};
use crate::sys::pool::FutexPool;
use std::path::Path;

/// How models are loaded: the served one, and its draft model.
#[derive(Clone, Copy)]
pub(super) struct Loader<'l> {
    pub(super) access: ImageAccess,
    pub(super) pool: &'l FutexPool,
    pub(super) progress: &'l dyn Progress,
}

impl Loader<'_> {
    /// Loads a model; with it comes the name under which it is served where none is asked for.
    pub(super) fn load(
        &self,
        source: &ModelSource,
        weights: WeightChoice,
    ) -> Result<(LoadedModel, String), LoadError> {
        let at = |path: &Path| image_file::load(path, weights, self.access, self.pool, self.progress);
        let last = |path: &Path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(name.strip_suffix(".gguf").map(str::to_owned).unwrap_or(name))
        };
        match source {
            ModelSource::BuiltIn => {
                let loaded = load_model(&builtin::folder(), weights, self.pool, self.progress)?;
                Ok((loaded, builtin::NAME.to_owned()))
            }
            ModelSource::Path(path) => {
                Ok((at(path)?, last(path).unwrap_or_else(|| path.display().to_string())))
            }
            ModelSource::Named(name) => {
                let path = resolve(name, &CacheLocations::from_env())?;
                let is_cached = name.contains('/') && !path.ends_with(name);
                let file_name = if is_cached { None } else { last(&path) };
                Ok((at(&path)?, file_name.unwrap_or_else(|| name.clone())))
            }
        }
    }
}
