//! What the hub says of a repository: its commit, its files, and why it says nothing.
use super::address::Address;
use super::error::HubError;
use super::http::{Ask, Client, Fault, Patience, Reply};
use super::settings::HubSettings;
use super::verify::ContentHash;
use super::watch::Watch;
use crate::load::RepositoryName;
use crate::load::repository::is_commit;
use crate::text::quote::quote;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a list of files, at most.
const LIST_MAX: u64 = 64 << 20;
/// Files of a repository, at most.
const FILES_MAX: usize = 50_000;
/// Bytes of a file's path in a repository, at most, and of one of its parts.
const PATH_MAX: usize = 1024;
const NAME_MAX: usize = 255;

/// What is written with `%` in one part of an address.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A file of a repository, as the hub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository, of parts that may name files.
    pub path: String,
    /// Its length, if the list says it.
    pub bytes: Option<u64>,
    /// The hash of what it holds, if the list says it.
    pub hash: Option<ContentHash>,
}

/// A repository at one commit.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The id of the commit: 40 hexadecimal digits.
    pub commit: String,
    /// Its files, as they are listed.
    pub files: Vec<RemoteFile>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

/// The hub, asked by its settings.
#[derive(Debug)]
pub struct Hub {
    client: Mutex<Arc<Client>>,
    pub(super) settings: HubSettings,
}

impl Hub {
    /// The hub of these settings, or the reason why it may not be asked. Nothing is asked yet.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        if let Some(by) = &settings.offline {
            return Err(HubError::Offline { by: by.clone() });
        }
        let client = Mutex::new(Arc::new(Client::new(&settings)?));
        Ok(Self { client, settings })
    }

    /// The connections over which it is asked from now on.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes all connections at once, whoever waits for them. Whoever asks after that has others.
    pub(super) fn reconnect(&self) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = Arc::new(client.anew());
        std::mem::replace(&mut *client, anew).close();
    }

    /// The settings by which it is asked.
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// The files of a repository at its revision, with their lengths and hashes.
    pub fn list(&self, name: &RepositoryName, watch: &dyn Watch) -> Result<Listing, HubError> {
        let revision = utf8_percent_encode(name.revision(), ESCAPED);
        let text =
            format!("{}/api/models/{}/revision/{revision}?blobs=true", self.settings.endpoint, name.id());
        let address = Address::at_hub(&text)?;
        let bytes = self.patiently(watch, || {
            let reply = self.checked(self.client().ask(&address, Ask::All)?, name, None)?;
            reply.read(LIST_MAX)
        })?;
        let info: Info = serde_json::from_slice(&bytes).map_err(|error| {
            HubError::answer(&address.text(), format!("is no list of files: {}", quote(&error.to_string())))
        })?;
        let wrong = |what: String| HubError::answer(&address.text(), what);
        if !is_commit(&info.sha) {
            return Err(wrong(format!(
                "has the commit {}, expected 40 hexadecimal digits",
                quote(&info.sha)
            )));
        }
        if info.siblings.len() > FILES_MAX {
            return Err(wrong(format!("lists {} files, expected at most {FILES_MAX}", info.siblings.len())));
        }
        let files = info.siblings.into_iter().map(|sibling| sibling.checked(&address));
        Ok(Listing { commit: info.sha, files: files.collect::<Result<_, _>>()? })
    }

    /// A file's length and hash; asks for them where the list did not say them.
    pub(super) fn described(
        &self,
        name: &RepositoryName,
        commit: &str,
        file: &RemoteFile,
        watch: &dyn Watch,
    ) -> Result<(u64, ContentHash), HubError> {
        if let (Some(bytes), Some(hash)) = (file.bytes, &file.hash) {
            return Ok((bytes, hash.clone()));
        }
        let address = self.address(name, commit, &file.path)?;
        let reply = self.patiently(watch, || {
            self.checked(self.client().ask(&address, Ask::Head)?, name, Some(&file.path)).map_err(Fault::from)
        })?;
        let hash = reply.linked.hash.clone().or_else(|| reply.header("etag").and_then(ContentHash::parse));
        let bytes = reply.linked.bytes.or_else(|| reply.content_length());
        let wrong = |what| HubError::answer(&address.text(), what);
        let hash =
            hash.ok_or_else(|| wrong("has no hash as its ETag, so what comes could not be checked"))?;
        Ok((bytes.ok_or_else(|| wrong("does not say how long it is"))?, hash))
    }

    /// A small file as a whole, checked against its hash where the list says one.
    pub(super) fn small_file(
        &self,
        name: &RepositoryName,
        commit: &str,
        file: &RemoteFile,
        (bytes_max, watch): (u64, &dyn Watch),
    ) -> Result<Vec<u8>, HubError> {
        let address = self.address(name, commit, &file.path)?;
        let bytes = self.patiently(watch, || {
            let reply = self.checked(self.client().ask(&address, Ask::All)?, name, Some(&file.path))?;
            reply.read(bytes_max)
        })?;
        if let Some(hash) = &file.hash {
            let mut hasher = hash.hasher(bytes.len() as u64);
            hasher.update(&bytes);
            let found = hasher.digits();
            if found != hash.digits() {
                let expected = hash.digits().to_owned();
                return Err(HubError::WrongHash { file: file.path.clone(), expected, found });
            }
        }
        Ok(bytes)
    }

    /// The address of a file at a commit.
    pub(super) fn address(
        &self,
        name: &RepositoryName,
        commit: &str,
        path: &str,
    ) -> Result<Address, HubError> {
        let parts: Vec<String> =
            path.split('/').map(|part| utf8_percent_encode(part, ESCAPED).to_string()).collect();
        let text = format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, name.id(), parts.join("/"));
        Address::at_hub(&text)
    }

    /// Does something until it succeeds, or fails for good.
    fn patiently<T>(&self, watch: &dyn Watch, does: impl Fn() -> Result<T, Fault>) -> Result<T, HubError> {
        let mut patience = Patience::new(&self.settings.transfer);
        loop {
            match does() {
                Ok(done) => return Ok(done),
                Err(fault) => {
                    let (error, pause) = patience.pause_after(fault)?;
                    watch.pauses(&error, pause);
                    std::thread::sleep(pause);
                }
            }
        }
    }

    /// The reply if it is what was asked for, else what its status says. The hub gives a reason
    /// beside the status; where it has none, a repository that nobody may see is not there.
    pub(super) fn checked(
        &self,
        reply: Reply,
        name: &RepositoryName,
        file: Option<&str>,
    ) -> Result<Reply, HubError> {
        if matches!(reply.status, 200 | 206) {
            return Ok(reply);
        }
        let (name, host) = (name.clone(), self.settings.host());
        let token = self.settings.token.as_ref();
        let has_token = token.is_some();
        let code = reply.header("x-error-code").unwrap_or("");
        Err(match (reply.status, code, token) {
            _ if !reply.address.is_of_hub() => {
                HubError::answer(&reply.address.text(), format!("answers with status {}", reply.status))
            }
            (_, "GatedRepo", _) => HubError::Gated { name, host, has_token },
            (401, _, Some(token)) => HubError::Token { source: token.source.clone(), host },
            (_, "RevisionNotFound", _) => HubError::NoRevision { name },
            (401, ..) | (_, "RepoNotFound", _) => HubError::NoRepository { name, host, has_token },
            (404, ..) => match file {
                Some(file) => HubError::NoFile { name, file: file.to_owned() },
                None => HubError::NoRepository { name, host, has_token },
            },
            (status, ..) => {
                let said = reply.header("x-error-message").map(|said| format!(": {}", quote(said)));
                let what = format!("answers with status {status}{}", said.unwrap_or_default());
                HubError::answer(&reply.address.text(), what)
            }
        })
    }
}

impl Sibling {
    /// The file, if its path leads nowhere else and its hash is one.
    fn checked(self, address: &Address) -> Result<RemoteFile, HubError> {
        let wrong = |what: &str| {
            let name = quote(&self.rfilename);
            HubError::answer(&address.text(), format!("lists a file {name}: {what}"))
        };
        if !is_safe_path(&self.rfilename) {
            return Err(wrong("its path could lead out of the repository"));
        }
        let (bytes, hash) = match (&self.lfs, &self.blob_id) {
            (Some(lfs), _) => (Some(lfs.size), Some(lfs.sha256.as_str()).filter(|hash| hash.len() == 64)),
            (None, Some(id)) => (self.size, Some(id.as_str()).filter(|hash| hash.len() == 40)),
            (None, None) => (self.size, None),
        };
        let has_hash = self.lfs.is_some() || self.blob_id.is_some();
        let hash = hash.and_then(ContentHash::parse);
        if has_hash && hash.is_none() {
            return Err(wrong("its hash is none"));
        }
        Ok(RemoteFile { path: self.rfilename, bytes, hash })
    }
}

/// Whether a path of a repository stays below its folder, and could be the name of a file.
fn is_safe_path(path: &str) -> bool {
    let is_name = |part: &str| {
        let is_plain = !part.chars().any(|c| c.is_control() || c == '\\');
        !matches!(part, "" | "." | "..") && part.len() <= NAME_MAX && is_plain
    };
    path.len() <= PATH_MAX && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_folder() {
        for path in ["config.json", "1_Pooling/config.json", "a b/ä.txt", ".gitattributes", "..."] {
            assert!(is_safe_path(path), "{path}");
        }
        let (long, deep) = ("n".repeat(NAME_MAX + 1), "a/".repeat(PATH_MAX));
        for path in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "a\\b", "a\0b", "a\nb", &long, &deep]
        {
            assert!(!is_safe_path(path), "{path:?}");
        }
    }

    #[test]
    fn large_files_are_named_by_sha256_and_small_ones_by_git() {
        let address = Address::at_hub("https://hub.example/api").unwrap();
        let of = |json: serde_json::Value| serde_json::from_value::<Sibling>(json).unwrap().checked(&address);
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let small = of(serde_json::json!({"rfilename": "a", "size": 5, "blobId": git})).unwrap();
        assert_eq!((small.bytes, small.hash.unwrap().digits()), (Some(5), git));
        let lfs = serde_json::json!({"sha256": sha, "size": 7, "pointerSize": 135});
        let large =
            of(serde_json::json!({"rfilename": "a", "size": 135, "blobId": git, "lfs": lfs})).unwrap();
        assert_eq!((large.bytes, large.hash.unwrap().digits()), (Some(7), sha));
        assert_eq!(of(serde_json::json!({"rfilename": "a"})).unwrap().hash, None);
        for wrong in [
            serde_json::json!({"rfilename": "a", "blobId": "../../x"}),
            serde_json::json!({"rfilename": "a", "lfs": {"sha256": git, "size": 1}}),
            serde_json::json!({"rfilename": "../a", "blobId": git}),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
