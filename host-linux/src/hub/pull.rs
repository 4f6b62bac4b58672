//! A model from the hub into the cache: first a plan, which only asks, then the files.
//!
//! The plan reads the configuration, so that a model which cannot be served is told before it is
//! there. A branch is noted at its new commit after the last file, so that a download which broke
//! off changes nothing of what the name means.
use super::api::{Hub, Listing, RemoteFile};
use super::cache::RepositoryCache;
use super::choose::{BESIDE_MAX, CONFIG, Form, INDEX, form, mix_of, wanted};
use super::download::fetch;
use super::error::HubError;
use super::lock::Lock;
use super::partial::left_at;
use super::verify::ContentHash;
use super::wanted::WantedFile;
use super::watch::Watch;
use crate::load::RepositoryName;
use crate::load::config::parse_config;
use crate::load::gguf::shards;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bytes that are left free beside what is to come.
const SPARE_BYTES: u64 = 32 << 20;

/// What is to be fetched.
#[derive(Clone, Debug)]
pub struct PullPlan {
    /// The model, as it was asked for.
    pub name: RepositoryName,
    /// The commit that its revision is at.
    pub commit: String,
    /// The name by which it is served once it is there: with its mix where it is a GGUF model.
    pub served_as: RepositoryName,
    /// All files that it needs, those that are there already among them.
    pub files: Vec<WantedFile>,
    /// Other files of the commit that are in the cache already, and get their name there.
    others: Vec<(String, ContentHash)>,
    /// Bytes that are still to come.
    pub missing_bytes: u64,
}

impl PullPlan {
    /// Asks the hub what a model is made of. Unless `is_forced`, a model that cannot be served is
    /// an error.
    pub fn new(
        hub: &Hub,
        name: &RepositoryName,
        is_forced: bool,
        watch: &dyn Watch,
    ) -> Result<Self, HubError> {
        let Listing { commit, files } = hub.list(name, watch)?;
        let lengths: BTreeMap<&str, u64> =
            files.iter().map(|file| (file.path.as_str(), file.bytes.unwrap_or(0))).collect();
        let find = |path: &str| files.iter().find(|file| file.path == path);
        let form = form(name, &lengths)?;
        if !matches!(form, Form::Gguf(_)) && !is_forced {
            let config = find(CONFIG).ok_or_else(|| {
                let what = format!("has no {CONFIG}, so it cannot be served");
                HubError::NothingToServe { name: name.clone(), what }
            })?;
            let bytes = hub.small_file(name, &commit, config, (BESIDE_MAX, watch))?;
            let read = parse_config(Path::new(CONFIG), &bytes);
            read.map_err(|error| HubError::Unsupported { name: name.clone(), error: Box::new(error) })?;
        }
        let index = match find(INDEX).filter(|_| form == Form::Shards) {
            Some(index) => Some(hub.small_file(name, &commit, index, (BESIDE_MAX, watch))?),
            None => None,
        };
        let paths = BTreeSet::from_iter(wanted(name, &form, index.as_deref(), &lengths)?);
        let cache = RepositoryCache::new(&hub.settings.cache, name);
        let is_wanted = |file: &&RemoteFile| paths.contains(&file.path);
        let describe = |file: &RemoteFile| {
            let (bytes, hash) = hub.described(name, &commit, file, watch)?;
            Ok(WantedFile { path: file.path.clone(), bytes, hash })
        };
        let mut chosen: Vec<WantedFile> =
            files.iter().filter(is_wanted).map(describe).collect::<Result<_, HubError>>()?;
        // What is small tells first whether anything is wrong.
        chosen.sort_by_key(|file| file.bytes);
        let others = files.iter().filter(|file| !is_wanted(file)).filter_map(|file| {
            let (bytes, hash) = (file.bytes?, file.hash.clone()?);
            cache.has_blob(&hash, bytes).then(|| (file.path.clone(), hash))
        });
        let others = others.collect();
        let missing_bytes = missing_bytes(&cache, &chosen);
        let served_as = match &form {
            Form::Gguf(names) => {
                let all = shards::models(lengths.keys().copied());
                name.with_mix(names.first().map(|first| mix_of(first, &all)).as_deref())
            }
            Form::Single | Form::Shards => name.clone(),
        };
        let name = name.clone();
        Ok(Self { name, commit, served_as, files: chosen, others, missing_bytes })
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// How many files are not there, and the bytes that they have as a whole.
    pub fn missing(&self, hub: &Hub) -> (usize, u64) {
        let cache = RepositoryCache::new(&hub.settings.cache, &self.name);
        let missing = self.files.iter().filter(|file| !cache.has_blob(&file.hash, file.bytes));
        missing.fold((0, 0), |(count, bytes), file| (count + 1, bytes.saturating_add(file.bytes)))
    }

    /// Fetches what is missing; the folder that then holds the model. Whatever ends this before,
    /// what has come stays, and the next call goes on with it.
    pub fn fetch(&self, hub: &Hub, watch: &dyn Watch) -> Result<PathBuf, HubError> {
        let cache = RepositoryCache::new(&hub.settings.cache, &self.name);
        // Nobody removes anything between two files, but may have since this was planned.
        let _shared = Lock::share(&cache.repository_lock())?;
        check_space(hub, missing_bytes(&cache, &self.files))?;
        let blobs = cache.root.join("blobs");
        std::fs::create_dir_all(&blobs).map_err(|error| HubError::io(&blobs, "create", error))?;
        for (number, file) in self.files.iter().enumerate() {
            if !cache.has_blob(&file.hash, file.bytes) {
                let _lock = Lock::take(&cache.lock(&file.hash), || watch.is_locked_out(&file.path))?;
                // Whoever held the lock before may have fetched it.
                if !cache.has_blob(&file.hash, file.bytes) {
                    watch.begins(&file.path, file.bytes, number + 1, self.files.len());
                    fetch(hub, &self.name, (&self.commit, file), &cache, watch)?;
                    watch.ends(&file.path);
                }
            }
            cache.link(&self.commit, &file.path, &file.hash)?;
        }
        for (path, hash) in self.others.iter().filter(|(_, hash)| cache.blob(hash).is_file()) {
            cache.link(&self.commit, path, hash)?;
        }
        cache.note_reference(self.name.revision(), &self.commit)?;
        Ok(cache.snapshot(&self.commit))
    }
}

/// Bytes that are still to come of some files.
fn missing_bytes(cache: &RepositoryCache, files: &[WantedFile]) -> u64 {
    let missing = |file: &WantedFile| {
        let left = || file.bytes - left_at(&cache.incomplete(&file.hash), file.bytes).min(file.bytes);
        if cache.has_blob(&file.hash, file.bytes) { 0 } else { left() }
    };
    files.iter().map(missing).fold(0, u64::saturating_add)
}

/// Whether the file system has room for what is to come.
fn check_space(hub: &Hub, needed: u64) -> Result<(), HubError> {
    let path = &hub.settings.cache;
    let free = (hub.settings.free_bytes)(path).map_err(|error| HubError::io(path, "ask for room", error))?;
    if needed > 0 && free < needed.saturating_add(SPARE_BYTES) {
        return Err(HubError::NoSpace { path: path.clone(), needed, free });
    }
    Ok(())
}
