//! Takes models out of the cache: a repository, one of its revisions, or one of its mixes. What
//! other revisions still name stays.
//!
//! Whoever deletes has the repository's lock alone, and finds under it what goes: since somebody
//! was asked, another process may have fetched a commit that names the same files.
use super::cache::{INCOMPLETE, RepositoryCache};
use super::error::HubError;
use super::lock::Lock;
use super::scan::CachedRepository;
use crate::load::RepositoryName;
use crate::load::gguf::shards;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is to be deleted, before anything is.
#[derive(Clone, Debug)]
pub struct RemovalPlan {
    /// What was asked for.
    pub name: RepositoryName,
    /// The paths that go, each with all below it where it is a folder.
    pub paths: Vec<PathBuf>,
    /// Bytes that become free.
    pub bytes: u64,
    /// The folder of cached repositories.
    cache: PathBuf,
    /// The commit that the revision meant when somebody was asked; it may mean another by now.
    commit: Option<Box<str>>,
}

impl RemovalPlan {
    /// Finds what has to go for a model to be gone. With a mix that are the files of that mix, with
    /// a revision those of its commit, else everything.
    pub fn new(cache: &Path, name: &RepositoryName) -> Result<Self, HubError> {
        let repository = CachedRepository::read(cache, name)?;
        let root = &repository.cache.root;
        let (name, cache) = (name.clone(), cache.to_owned());
        if is_whole(&name) {
            let paths = vec![root.clone()];
            return Ok(Self { name, paths, bytes: repository.bytes, cache, commit: None });
        }
        let of_revision = name.revision.as_ref().and_then(|revision| repository.commit(revision));
        let commit = of_revision.map(|commit| commit.id.as_str().into());
        let links = links(&repository, &name)?;
        let goes: BTreeSet<&PathBuf> = links.iter().collect();
        let mut kept = BTreeSet::new();
        let mut freed = BTreeSet::new();
        for commit in &repository.commits {
            for (path, file) in &commit.files {
                let at = repository.cache.snapshot(&commit.id).join(path);
                if goes.contains(&at) {
                    freed.insert(&file.blob)
                } else {
                    kept.insert(&file.blob)
                };
            }
        }
        // A link may lead anywhere; what goes lies where blobs do, or is the name itself.
        let folder = root.join("blobs");
        let is_own = |blob: &PathBuf| goes.contains(blob) || blob.parent() == Some(folder.as_path());
        let blobs: Vec<PathBuf> =
            freed.into_iter().filter(|blob| !kept.contains(blob) && is_own(blob)).cloned().collect();
        // A link to elsewhere takes no room here.
        let length = |blob: &PathBuf| fs::symlink_metadata(blob).map_or(0, |metadata| metadata.len());
        let bytes = blobs.iter().map(length).sum();
        let mut paths = links.clone();
        if name.mix.is_none() {
            paths.extend(revision_files(&repository, &name));
        }
        paths.extend(blobs.into_iter().filter(|blob| !links.contains(blob)));
        Ok(Self { name, paths, bytes, cache, commit })
    }

    /// Deletes what is there of it by now, unless another process fetches or removes files of the
    /// repository; the bytes that are free for it.
    pub fn remove(&self) -> Result<u64, HubError> {
        let locks = Locks::take(&RepositoryCache::new(&self.cache, &self.name), &self.name)?;
        let revision = self.commit.clone().or_else(|| self.name.revision.clone());
        let (paths, bytes) = match Self::new(&self.cache, &RepositoryName { revision, ..self.name.clone() }) {
            Ok(found) => (found.paths, found.bytes),
            Err(HubError::NotCached { .. }) => (Vec::new(), 0), // it is gone
            Err(error) => return Err(error),
        };
        for path in &paths {
            let error = |error| HubError::io(path, "delete", error);
            match fs::symlink_metadata(path) {
                Err(_) => {} // it is gone
                Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).map_err(error)?,
                Ok(_) => fs::remove_file(path).map_err(error)?,
            }
        }
        if is_whole(&self.name) {
            locks.delete();
        }
        Ok(bytes)
    }
}

/// Whether all of a repository is meant.
fn is_whole(name: &RepositoryName) -> bool {
    name.mix.is_none() && name.revision.is_none()
}

/// All locks of a repository.
struct Locks {
    folder: PathBuf,
    /// Those of files, then that of the repository, with their paths.
    held: Vec<(PathBuf, Lock)>,
}

impl Locks {
    /// Takes the lock of the repository, and then those of its files that there are, if nobody
    /// holds one of them.
    fn take(cache: &RepositoryCache, name: &RepositoryName) -> Result<Self, HubError> {
        let folder = cache.locks().to_owned();
        let take = |path: PathBuf| {
            let taken = Lock::try_take(&path)?.ok_or_else(|| HubError::InUse { name: name.clone() });
            taken.map(|lock| (path, lock))
        };
        let own = cache.repository_lock();
        // On a disk that is full no lock can be made, and that must keep nobody from making room:
        // one that is not there is held by nobody.
        let of_repository = match take(own.clone()) {
            Err(error) if error.is_full() => None,
            taken => Some(taken?),
        };
        let mut held = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path() != own {
                held.push(take(entry.path())?);
            }
        }
        held.extend(of_repository);
        Ok(Self { folder, held })
    }

    /// Deletes the files of the locks that are held, and their folder if no other has come into it.
    /// Whoever waits for one of them makes it anew.
    fn delete(self) {
        for (path, _) in &self.held {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The names that go: those of a commit, or those of a mix at all commits or that one.
fn links(repository: &CachedRepository, name: &RepositoryName) -> Result<Vec<PathBuf>, HubError> {
    let snapshots = repository.cache.root.join("snapshots");
    let missing = |looked| HubError::NotCached { name: name.clone(), looked };
    let commits = match &name.revision {
        Some(revision) => {
            let found = repository.commit(revision);
            vec![found.ok_or_else(|| missing(snapshots.join(&**revision)))?]
        }
        None => repository.commits.iter().collect(),
    };
    let mut links = Vec::new();
    for commit in commits {
        let snapshot = repository.cache.snapshot(&commit.id);
        let is_of_mix = |path: &&String| {
            path.ends_with(shards::EXTENSION)
                && name.mix.as_ref().is_none_or(|mix| shards::is_of_mix(path, mix))
        };
        let all = name.mix.is_none();
        links.extend(
            commit.files.keys().filter(|path| all || is_of_mix(path)).map(|path| snapshot.join(path)),
        );
    }
    match &name.mix {
        Some(mix) if links.is_empty() => {
            Err(missing(snapshots.join(format!("*/*{mix}*{}", shards::EXTENSION))))
        }
        _ => Ok(links),
    }
}

/// The folder of a revision's commit, and the branches and tags that are at it.
fn revision_files(repository: &CachedRepository, name: &RepositoryName) -> Vec<PathBuf> {
    let Some(commit) = repository.commit(name.revision()) else { return Vec::new() };
    let at = repository.references.iter().filter(|(_, id)| **id == commit.id);
    let references = at.map(|(reference, _)| repository.cache.root.join("refs").join(reference));
    references.chain([repository.cache.snapshot(&commit.id)]).collect()
}

/// Files of downloads that have not come to their end, in a repository.
pub fn incomplete(repository: &CachedRepository) -> usize {
    let blobs = fs::read_dir(repository.cache.root.join("blobs")).into_iter().flatten().flatten();
    blobs.filter(|entry| entry.file_name().to_string_lossy().ends_with(INCOMPLETE)).count()
}

#[cfg(test)]
mod tests {
    use super::super::cache::RepositoryCache;
    use super::super::verify::ContentHash;
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    /// Two commits that share a file, and have one mix each beside one of both.
    fn cache(directory: &TemporaryDirectory) -> RepositoryCache {
        let cache = RepositoryCache::new(directory.path(), &RepositoryName::parse("org/small").unwrap());
        fs::create_dir_all(cache.root.join("blobs")).unwrap();
        let names = [
            ("a", "README.md", "12"),
            ("b", "m-Q4_0.gguf", "1"),
            ("a", "m-Q8_0.gguf", "12"),
            ("c", "m-Q8_0.gguf", "3"),
        ];
        for (blob, path, commits) in names {
            let hash = ContentHash::parse(&blob.repeat(40)).unwrap();
            fs::write(cache.blob(&hash), blob.repeat(100)).unwrap();
            commits
                .chars()
                .for_each(|commit| cache.link(&commit.to_string().repeat(40), path, &hash).unwrap());
        }
        cache.note_reference("main", &"1".repeat(40)).unwrap();
        cache.note_reference("old", &"3".repeat(40)).unwrap();
        cache
    }

    fn plan(directory: &TemporaryDirectory, name: &str) -> Result<RemovalPlan, HubError> {
        RemovalPlan::new(directory.path(), &RepositoryName::parse(name).unwrap())
    }

    fn blobs(cache: &RepositoryCache) -> String {
        let mut names: Vec<String> = fs::read_dir(cache.root.join("blobs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy()[..1].to_owned())
            .collect();
        names.sort();
        names.concat()
    }

    #[test]
    fn a_revision_takes_only_what_nothing_else_names() {
        let directory = TemporaryDirectory::new("remove-revision");
        let cache = cache(&directory);
        let found = plan(&directory, "org/small@main").unwrap();
        assert_eq!(found.bytes, 100, "the shared file stays");
        found.remove().unwrap();
        assert_eq!(blobs(&cache), "ac");
        assert!(!cache.root.join("refs/main").exists() && cache.root.join("refs/old").exists());
        assert!(!cache.snapshot(&"1".repeat(40)).exists());
        assert!(plan(&directory, "org/small@main").is_err());
    }

    #[test]
    fn a_cache_may_be_named_by_a_way_around() {
        let directory = TemporaryDirectory::new("remove-around");
        let cache = cache(&directory);
        fs::create_dir(directory.path().join("aside")).unwrap();
        let around = directory.path().join("aside/..");
        let name = RepositoryName::parse("org/small@main").unwrap();
        let found = RemovalPlan::new(&around, &name).unwrap();
        assert_eq!(found.bytes, 100);
        found.remove().unwrap();
        assert_eq!(blobs(&cache), "ac");
    }

    #[test]
    fn links_to_folders_take_no_folder_with_them() {
        let directory = TemporaryDirectory::new("remove-links");
        let cache = cache(&directory);
        let snapshot = cache.snapshot(&"1".repeat(40));
        for (name, target) in [("all", "../../blobs"), ("root", "../.."), ("hub", "../../..")] {
            std::os::unix::fs::symlink(target, snapshot.join(name)).unwrap();
        }
        plan(&directory, "org/small@main").unwrap().remove().unwrap();
        assert_eq!(blobs(&cache), "ac", "what other commits name stays");
        assert!(!snapshot.exists());
    }

    #[test]
    fn a_mix_goes_from_all_commits() {
        let directory = TemporaryDirectory::new("remove-mix");
        let cache = cache(&directory);
        plan(&directory, "org/small:Q8_0").unwrap().remove().unwrap();
        assert_eq!(blobs(&cache), "ab", "README.md has the same content");
        assert!(fs::symlink_metadata(cache.snapshot(&"1".repeat(40)).join("m-Q8_0.gguf")).is_err());
        let error = plan(&directory, "org/small:Q8_0").unwrap_err().to_string();
        assert!(error.contains("org/small:Q8_0 is not in the cache"), "{error}");
    }

    #[test]
    fn what_is_being_downloaded_stays() {
        let directory = TemporaryDirectory::new("remove-all");
        let cache = cache(&directory);
        let hash = ContentHash::parse(&"a".repeat(40)).unwrap();
        let held = Lock::take(&cache.lock(&hash), || {}).unwrap();
        let found = plan(&directory, "org/small").unwrap();
        let error = found.remove().unwrap_err().to_string();
        let told = "another process fetches or removes org/small: try again once it has ended";
        assert_eq!(error, told);
        drop(held);
        // Whoever fetches may be between two files.
        let held = Lock::share(&cache.repository_lock()).unwrap().unwrap();
        assert_eq!(found.remove().unwrap_err().to_string(), told);
        assert_eq!(plan(&directory, "org/small:Q8_0").unwrap().remove().unwrap_err().to_string(), told);
        assert_eq!(blobs(&cache), "abc");
        drop(held);
        found.remove().unwrap();
        assert!(!cache.root.exists() && !cache.locks().exists());
        found.remove().unwrap();
        assert!(!cache.locks().exists(), "what is gone already is no error, and leaves nothing");
    }

    #[test]
    fn what_has_come_since_somebody_was_asked_stays() {
        let directory = TemporaryDirectory::new("remove-since");
        let cache = cache(&directory);
        let found = plan(&directory, "org/small@main").unwrap();
        let hash = ContentHash::parse(&"b".repeat(40)).unwrap();
        let came = "4".repeat(40);
        cache.link(&came, "m-Q4_0.gguf", &hash).unwrap();
        cache.note_reference("main", &came).unwrap();
        found.remove().unwrap();
        assert_eq!(blobs(&cache), "abc", "another commit names it by now");
        assert!(!cache.snapshot(&"1".repeat(40)).exists());
        let branch = fs::read_to_string(cache.root.join("refs/main")).unwrap();
        assert!(cache.snapshot(&came).exists() && branch == came, "nobody has agreed to that one");
    }
}
