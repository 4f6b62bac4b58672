//! What the name of a model means: a path, or `ORG/NAME` in the local Hugging Face cache, or
//! `ORG/NAME:Q4_K_M` for one of the GGUF models of such a repository; `ORG/NAME@v1.0` is another
//! branch, tag or commit of it.
use super::error::LoadError;
use super::folder::Folder;
use super::gguf::shards;
use super::repository::{RepositoryName, abbreviated, is_commit};
use std::path::{Path, PathBuf};

/// The environment variables that say where caches are, as a value so that tests need not change
/// their own environment.
#[derive(Clone, Debug, Default)]
pub struct CacheLocations {
    /// `HF_HUB_CACHE`, or `HUGGINGFACE_HUB_CACHE`, its old name: the directory of cached models.
    pub hub_cache: Option<PathBuf>,
    /// `HF_HOME`: its parent, with the directory `hub`.
    pub home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`: the parent of `huggingface`.
    pub xdg_cache: Option<PathBuf>,
    /// `HOME`: the parent of `.cache`.
    pub user_home: Option<PathBuf>,
}

impl CacheLocations {
    /// Reads the environment of this process.
    pub fn from_env() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            hub_cache: path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")),
            home: path("HF_HOME"),
            xdg_cache: path("XDG_CACHE_HOME"),
            user_home: path("HOME"),
        }
    }

    /// The hub's cache directory, by the same precedence as Hugging Face's own library.
    pub fn hub(&self) -> Option<PathBuf> {
        self.hub_cache.clone().or_else(|| Some(self.hugging_face()?.join("hub")))
    }

    /// The directory that holds that one, and the token of whoever has logged in.
    pub fn hugging_face(&self) -> Option<PathBuf> {
        let cache = || self.xdg_cache.clone().or_else(|| Some(self.user_home.as_ref()?.join(".cache")));
        self.home.clone().or_else(|| Some(cache()?.join("huggingface")))
    }
}

/// Finds the directory or file that `model` names: a path that exists, else `ORG/NAME` in the
/// cache, with the name of a mix behind a colon where it holds GGUF models. Nothing is downloaded.
pub fn resolve(model: &str, caches: &CacheLocations) -> Result<PathBuf, LoadError> {
    let path = Path::new(model);
    if !model.is_empty() && path.exists() {
        return Ok(path.to_owned());
    }
    let mut looked = vec![path.to_owned()];
    if let (Some(name), Some(hub)) = (RepositoryName::parse(model), caches.hub()) {
        match snapshot(&hub.join(name.folder()), name.revision()) {
            Ok(snapshot) => {
                return match name.mix {
                    Some(mix) => gguf_of(&snapshot, &mix),
                    None => Ok(only_model(snapshot)),
                };
            }
            Err(missing) => looked.push(missing),
        }
    }
    Err(LoadError::NotFound { model: model.to_owned(), looked })
}

/// The folder of a repository's revision in the cache; an error is the path that is not there.
pub fn snapshot(repository: &Path, revision: &str) -> Result<PathBuf, PathBuf> {
    let commit = if is_commit(revision) {
        revision.to_owned()
    } else {
        let reference = repository.join("refs").join(revision);
        let read = std::fs::read_to_string(&reference).unwrap_or_default();
        let commit = read.trim().to_owned();
        match only_commit(repository, revision) {
            Some(found) if commit.is_empty() => found,
            _ if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(reference);
            }
            _ => commit,
        }
    };
    let snapshot = repository.join("snapshots").join(commit);
    if snapshot.is_dir() { Ok(snapshot) } else { Err(snapshot) }
}

/// The only commit in the cache whose id begins so.
fn only_commit(repository: &Path, revision: &str) -> Option<String> {
    let entries = std::fs::read_dir(repository.join("snapshots")).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    abbreviated(revision, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The names of a snapshot's files, and of those in folders of it, as large models are kept.
fn names_in(snapshot: &Path) -> Result<Vec<String>, LoadError> {
    let mut names = Folder::from(snapshot).names()?;
    names.sort_unstable();
    for folder in names.clone() {
        if snapshot.join(&folder).is_dir() {
            let inner = Folder::from(snapshot.join(&folder).as_path()).names()?;
            names.extend(inner.into_iter().map(|name| format!("{folder}/{name}")));
        }
    }
    Ok(names)
}

/// The GGUF model of a mix in a snapshot.
fn gguf_of(snapshot: &Path, mix: &str) -> Result<PathBuf, LoadError> {
    let names = names_in(snapshot)?;
    let models = shards::models(names.iter().map(String::as_str));
    let of_mix: Vec<_> = models.iter().filter(|name| shards::is_of_mix(name, mix)).collect();
    match of_mix[..] {
        [name] => Ok(snapshot.join(name)),
        [] => Err(shards::none_of_mix(snapshot, mix, &models)),
        _ => Err(shards::several_models(snapshot, &of_mix.into_iter().copied().collect::<Vec<_>>())),
    }
}

/// What a snapshot holds where no mix is named: itself, or its only model if that is a GGUF file in
/// a folder of it.
fn only_model(snapshot: PathBuf) -> PathBuf {
    let names = names_in(&snapshot).unwrap_or_default();
    match shards::models(names.iter().map(String::as_str))[..] {
        [name] if name.contains('/') && !names.iter().any(|name| name == "config.json") => {
            snapshot.join(name)
        }
        _ => snapshot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn a_path_or_a_name_in_the_cache() {
        let directory = TemporaryDirectory::new("resolve");
        let hub = directory.path().join("hub");
        let caches = CacheLocations { home: Some(directory.path().to_owned()), ..CacheLocations::default() };
        let existing = directory.path().to_str().unwrap();
        assert_eq!(resolve(existing, &caches).unwrap(), directory.path());

        let error = resolve("org/small", &caches).unwrap_err().to_string();
        let main = hub.join("models--org--small/refs/main");
        assert_eq!(error, format!("no model org/small: looked for org/small, {}", main.display()));
        fs::create_dir_all(main.parent().unwrap()).unwrap();
        fs::write(&main, "abc123\n").unwrap();
        let snapshot = hub.join("models--org--small/snapshots/abc123");
        let error = resolve("org/small", &caches).unwrap_err().to_string();
        assert_eq!(error, format!("no model org/small: looked for org/small, {}", snapshot.display()));
        fs::create_dir_all(&snapshot).unwrap();
        assert_eq!(resolve("org/small", &caches).unwrap(), snapshot);
        let direct = CacheLocations { hub_cache: Some(hub.clone()), ..CacheLocations::default() };
        assert_eq!(resolve("org/small", &direct).unwrap(), snapshot);

        // A branch by its name, a commit by its id.
        fs::create_dir_all(hub.join("models--org--small/refs/refs/pr")).unwrap();
        fs::write(hub.join("models--org--small/refs/refs/pr/1"), "abc123").unwrap();
        assert_eq!(resolve("org/small@refs/pr/1", &caches).unwrap(), snapshot);
        let commit = "0123456789".repeat(4);
        assert!(resolve(&format!("org/small@{commit}"), &caches).is_err());
        fs::create_dir_all(hub.join("models--org--small/snapshots").join(&commit)).unwrap();
        assert!(resolve(&format!("org/small@{commit}"), &caches).unwrap().ends_with(&commit));
        // Its first digits, as `list` shows them, unless a tag is called so.
        assert!(resolve("org/small@0123456", &caches).unwrap().ends_with(&commit));
        assert!(resolve("org/small@012345", &caches).is_err(), "that is too short");
        fs::write(hub.join("models--org--small/refs/0123456"), "abc123").unwrap();
        assert_eq!(resolve("org/small@0123456", &caches).unwrap(), snapshot);

        // One of several GGUF models, by its mix.
        fs::create_dir_all(snapshot.join("UD-Q2_K_XL")).unwrap();
        for name in
            ["m-Q4_K_M.gguf", "m-Q4_K.gguf", "m.q8_0-00001-of-00002.gguf", "m.q8_0-00002-of-00002.gguf"]
        {
            fs::write(snapshot.join(name), "").unwrap();
        }
        fs::write(snapshot.join("UD-Q2_K_XL/m-UD-Q2_K_XL.gguf"), "").unwrap();
        for (mix, file) in [
            ("Q4_K_M", "m-Q4_K_M.gguf"),
            ("q4_k", "m-Q4_K.gguf"),
            ("Q8_0", "m.q8_0-00001-of-00002.gguf"),
            ("UD-Q2_K_XL", "UD-Q2_K_XL/m-UD-Q2_K_XL.gguf"),
        ] {
            assert_eq!(resolve(&format!("org/small:{mix}"), &caches).unwrap(), snapshot.join(file));
        }
        let error = resolve("org/small:Q6_K", &caches).unwrap_err().to_string();
        let told = "has no GGUF model of the mix Q6_K, but UD-Q2_K_XL/m-UD-Q2_K_XL.gguf, m-Q4_K.gguf, \
                    m-Q4_K_M.gguf, m.q8_0-00001-of-00002.gguf";
        assert_eq!(error, format!("{}: {told}", snapshot.display()));
        let error = resolve("org/small:m", &caches).unwrap_err().to_string();
        assert!(error.contains("holds 4 GGUF models"), "{error}");

        // Without a mix, the only model is meant, wherever it is.
        assert_eq!(resolve("org/small", &caches).unwrap(), snapshot, "there are several");
        for name in
            ["m-Q4_K_M.gguf", "m-Q4_K.gguf", "m.q8_0-00001-of-00002.gguf", "m.q8_0-00002-of-00002.gguf"]
        {
            fs::remove_file(snapshot.join(name)).unwrap();
        }
        let only = snapshot.join("UD-Q2_K_XL/m-UD-Q2_K_XL.gguf");
        assert_eq!(resolve("org/small", &caches).unwrap(), only);
        fs::write(snapshot.join("config.json"), "{}").unwrap();
        assert_eq!(resolve("org/small", &caches).unwrap(), snapshot);

        // A reference that would lead out of the cache, and names that are none.
        fs::write(&main, "../../..").unwrap();
        assert!(resolve("org/small", &caches).is_err());
        for name in ["", "nothing", "a/b/c", "../x", "org/", "org/a b"] {
            let error = resolve(name, &caches).unwrap_err().to_string();
            assert_eq!(error, format!("no model {name}: looked for {name}"));
        }
    }
}
