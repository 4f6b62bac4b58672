//! What lies in the cache: its repositories, their commits, files and mixes.
use super::cache::{INCOMPLETE, RepositoryCache};
use super::choose::mix_of;
use super::error::HubError;
use crate::load::gguf::shards;
use crate::load::repository::{MAIN, abbreviated, is_commit};
use crate::load::{RepositoryName, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Entries of one folder that are looked at, at most.
const ENTRIES_MAX: usize = 100_000;
/// Folders in one another below a commit, at most.
const DEPTH_MAX: usize = 8;

/// A repository in the cache.
#[derive(Clone, Debug)]
pub struct CachedRepository {
    /// Organisation and name, without revision and mix.
    pub name: RepositoryName,
    /// Its folder of the cache.
    pub cache: RepositoryCache,
    /// Its branches and tags, each with the commit that it is at.
    pub references: BTreeMap<String, String>,
    /// The commits of which files are there.
    pub commits: Vec<CachedCommit>,
    /// Bytes that its files take on the disk, those among them that are not complete.
    pub bytes: u64,
    /// When a file of it was read last, as far as the file system notes it.
    pub last_used: Option<SystemTime>,
}

/// What is there of a commit.
#[derive(Clone, Debug)]
pub struct CachedCommit {
    /// Its id: 40 hexadecimal digits.
    pub id: String,
    /// Its files by their paths.
    pub files: BTreeMap<String, CachedFile>,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// Where its bytes lie; the name itself where it is no link.
    pub blob: PathBuf,
    /// Its length; `None` if the link leads to nothing.
    pub bytes: Option<u64>,
}

/// The names of all repositories of models in a cache, in order. A cache that is not there has
/// none.
pub fn repositories(cache: &Path) -> Result<Vec<RepositoryName>, HubError> {
    let mut found: Vec<_> = names(cache)?.iter().filter_map(|name| RepositoryName::of_folder(name)).collect();
    found.sort();
    Ok(found)
}

impl CachedRepository {
    /// Looks at a repository in a cache.
    pub fn read(cache: &Path, name: &RepositoryName) -> Result<Self, HubError> {
        let folder = RepositoryCache::new(cache, name);
        if !folder.root.is_dir() {
            return Err(HubError::NotCached { name: name.clone(), looked: folder.root });
        }
        let mut references = BTreeMap::new();
        for path in files_below(&folder.root.join("refs"))? {
            let commit = fs::read_to_string(folder.root.join("refs").join(&path)).unwrap_or_default();
            let commit = commit.trim();
            if is_commit(commit) {
                references.insert(path, commit.to_owned());
            }
        }
        let mut commits = Vec::new();
        for id in names(&folder.root.join("snapshots"))?.into_iter().filter(|id| is_commit(id)) {
            let snapshot = folder.snapshot(&id);
            let files = files_below(&snapshot)?.into_iter().map(|path| {
                let file = cached_file(&snapshot.join(&path));
                (path, file)
            });
            commits.push(CachedCommit { files: files.collect(), id });
        }
        commits.sort_by(|a, b| a.id.cmp(&b.id));
        let (mut bytes, mut last_used) = (0_u64, None);
        let blobs = folder.root.join("blobs");
        for name in names(&blobs)? {
            let Ok(metadata) = fs::metadata(blobs.join(&name)) else { continue };
            // What has not come yet of a file takes no room.
            let taken = if name.ends_with(INCOMPLETE) { 512 * metadata.blocks() } else { u64::MAX };
            bytes = bytes.saturating_add(metadata.len().min(taken));
            last_used = last_used.max(metadata.accessed().ok());
        }
        let name = RepositoryName { revision: None, mix: None, ..name.clone() };
        Ok(Self { name, cache: folder, references, commits, bytes, last_used })
    }

    /// The commit that a revision means: that of a branch or tag, or the commit itself, by its id
    /// or the first digits of it.
    pub fn commit(&self, revision: &str) -> Option<&CachedCommit> {
        let known = self.references.get(revision).map(String::as_str);
        let short = || abbreviated(revision, self.commits.iter().map(|commit| commit.id.as_str()));
        let id = known.or_else(short).unwrap_or(revision);
        self.commits.iter().find(|commit| commit.id == id)
    }

    /// The commit that is spoken of where none is named: that of the main branch, else the only
    /// one.
    pub fn main_commit(&self) -> Option<&CachedCommit> {
        let only = || if self.commits.len() == 1 { self.commits.first() } else { None };
        self.commit(MAIN).or_else(only)
    }
}

impl CachedCommit {
    /// Its GGUF models: the mix of each, as it is asked for, and the paths of its files.
    pub fn mixes(&self) -> Vec<(String, Vec<String>)> {
        let models = shards::models(self.files.keys().map(String::as_str));
        let of = |model: &&str| (mix_of(model, &models), shards::all_shards(model));
        models.iter().map(of).collect()
    }

    /// What form its weights have: `safetensors`, `GGUF` with its mixes, or none that is read.
    pub fn form(&self) -> String {
        let mixes: Vec<String> = self.mixes().into_iter().map(|(mix, _)| mix).collect();
        let has_safetensors = self.files.keys().any(|path| path.ends_with(".safetensors"));
        match (has_safetensors, mixes.is_empty()) {
            (true, true) => "safetensors".to_owned(),
            (true, false) => format!("safetensors, GGUF {}", mixes.join(" ")),
            (false, false) => format!("GGUF {}", mixes.join(" ")),
            (false, true) => "no weights".to_owned(),
        }
    }

    /// Bytes of its files, each blob once.
    pub fn bytes(&self) -> u64 {
        let blobs: BTreeSet<(&Path, u64)> =
            self.files.values().filter_map(|file| Some((file.blob.as_path(), file.bytes?))).collect();
        blobs.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Where a cached model lies, in words of this module's errors.
pub fn locate(cache: &Path, name: &RepositoryName) -> Result<PathBuf, HubError> {
    let folder = cache.join(name.folder());
    resolve::snapshot(&folder, name.revision())
        .map_err(|looked| HubError::NotCached { name: name.clone(), looked })
}

fn cached_file(path: &Path) -> CachedFile {
    let bytes = fs::metadata(path).ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
    // The link itself says which blob it means, even where that is another link.
    let target = fs::read_link(path).ok().map(|target| leads_to(path.parent().unwrap_or(path), &target));
    CachedFile { blob: target.unwrap_or_else(|| path.to_owned()), bytes }
}

/// Where a link in a folder leads, by its words alone: each `..` takes away the part before it. The
/// folder stays as it was named, so that what lies in the cache has a path that begins like that of
/// the cache, even where that one has `..` in it.
fn leads_to(folder: &Path, target: &Path) -> PathBuf {
    let mut out = folder.to_owned();
    for part in target.components() {
        let is_named = matches!(out.components().next_back(), Some(Component::Normal(_)));
        if part == Component::ParentDir && is_named {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

/// The names in a folder that are UTF-8; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, HubError> {
    let error = |error| HubError::io(folder, "read", error);
    let entries = match fs::read_dir(folder) {
        Err(found) if found.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(error)?,
    };
    let mut names = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        names.extend(entry.map_err(error)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The paths of all files and links below a folder. Links to folders are not followed.
fn files_below(root: &Path) -> Result<Vec<String>, HubError> {
    let (mut found, mut waiting) = (Vec::new(), vec![(String::new(), 0)]);
    while let Some((folder, depth)) = waiting.pop() {
        for name in names(&root.join(&folder))? {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let is_folder = fs::symlink_metadata(root.join(&path)).is_ok_and(|metadata| metadata.is_dir());
            if !is_folder {
                found.push(path);
            } else if depth < DEPTH_MAX {
                waiting.push((path, depth + 1));
            }
            if found.len() > ENTRIES_MAX {
                return Ok(found);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::verify::ContentHash;
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn a_link_leads_from_the_folder_as_it_is_named() {
        let of = |folder: &str, target: &str| leads_to(Path::new(folder), Path::new(target));
        assert_eq!(of("/a/../hub/m/snapshots/c", "../../blobs/x"), Path::new("/a/../hub/m/blobs/x"));
        assert_eq!(of("../hub/m/snapshots/c", "../../blobs/x"), Path::new("../hub/m/blobs/x"));
        assert_eq!(of("../m", "../../x"), Path::new("../../x"), "what is above is not known");
        assert_eq!(of("/hub/m", "/else/x"), Path::new("/else/x"));
    }

    #[test]
    fn a_repository_is_its_commits_and_their_files() {
        let directory = TemporaryDirectory::new("scan");
        let cache = directory.path();
        assert!(repositories(&cache.join("no")).unwrap().is_empty());
        let name = RepositoryName::parse("org/small").unwrap();
        let error = CachedRepository::read(cache, &name).unwrap_err().to_string();
        assert!(error.starts_with("org/small is not in the cache: found no "), "{error}");
        let folder = RepositoryCache::new(cache, &name);
        let hash = ContentHash::parse(&"a".repeat(40)).unwrap();
        fs::create_dir_all(folder.root.join("blobs")).unwrap();
        fs::write(folder.blob(&hash), "12345").unwrap();
        let commit = "c".repeat(40);
        for path in ["m-Q4_0.gguf", "UD/m-Q8_0-00001-of-00001.gguf"] {
            folder.link(&commit, path, &hash).unwrap();
        }
        folder.note_reference("main", &commit).unwrap();
        fs::create_dir_all(cache.join("datasets--a--b")).unwrap();
        assert_eq!(repositories(cache).unwrap(), std::slice::from_ref(&name));
        let found = CachedRepository::read(cache, &name).unwrap();
        assert_eq!(found.references["main"], commit);
        let main = found.main_commit().unwrap();
        assert_eq!((main.form().as_str(), main.bytes(), found.bytes), ("GGUF Q8_0 Q4_0", 5, 5));
        assert_eq!(main.files["m-Q4_0.gguf"], CachedFile { blob: folder.blob(&hash), bytes: Some(5) });
        assert!(found.last_used.is_some());
        assert!(found.commit("ccccccc").is_some() && found.commit(&commit).is_some());
        assert!(found.commit("cccccc").is_none() && found.commit("ccccccd").is_none());
        fs::remove_file(folder.blob(&hash)).unwrap();
        let found = CachedRepository::read(cache, &name).unwrap();
        assert_eq!(found.main_commit().unwrap().files["m-Q4_0.gguf"].bytes, None, "a link to nothing");
        assert!(locate(cache, &name).is_ok());
        assert!(locate(cache, &RepositoryName::parse("org/small@v2").unwrap()).is_err());
    }
}
