//! What the hub on loopback holds: repositories at one commit each.
use serde_json::{Value, json};
use std::collections::BTreeMap;
use verbatim::hub::verify::ContentHash;

/// The commit that every repository is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Who may read a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, with a token or without.
    Open,
    /// Whoever has the token.
    Private,
    /// Whoever has the token; others are told that it is there.
    Gated,
}

/// A file of a repository.
#[derive(Clone, Debug)]
pub struct RemoteContent {
    /// The bytes that it holds.
    pub content: Vec<u8>,
    /// Whether it is large: named by its SHA-256, and fetched from the other server.
    pub is_large: bool,
}

impl RemoteContent {
    /// The name of its content: SHA-256 of a large file, else git's.
    pub fn digits(&self) -> String {
        let kind = "0".repeat(if self.is_large { 64 } else { 40 });
        let mut hasher = ContentHash::parse(&kind).expect("digits").hasher(self.content.len() as u64);
        hasher.update(&self.content);
        hasher.digits()
    }
}

/// A repository, and what the hub tells of it.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its organisation and name.
    pub id: String,
    /// Who may read it.
    pub access: Access,
    /// Its branches and tags; `main` is always there.
    pub branches: Vec<String>,
    /// Its files by their paths.
    pub files: BTreeMap<String, RemoteContent>,
    /// Whether the list of files tells their lengths and hashes, as some mirrors do not.
    pub tells_hashes: bool,
    /// What is told in place of the list of files.
    pub list: Option<Value>,
}

impl Repository {
    /// A repository of these files; weights are large.
    pub fn new<'f>(id: &str, files: impl IntoIterator<Item = (&'f str, Vec<u8>)>) -> Self {
        let is_large = |name: &str| [".safetensors", ".gguf", ".bin"].iter().any(|end| name.ends_with(end));
        let file = |(name, content): (&str, Vec<u8>)| {
            (name.to_owned(), RemoteContent { content, is_large: is_large(name) })
        };
        Self {
            id: id.to_owned(),
            access: Access::Open,
            branches: vec!["main".to_owned()],
            files: files.into_iter().map(file).collect(),
            tells_hashes: true,
            list: None,
        }
    }

    /// Whether a revision is one of its branches, or its commit, of which seven digits are enough.
    pub(super) fn has_revision(&self, revision: &str) -> bool {
        (revision.len() >= 7 && COMMIT.starts_with(revision))
            || self.branches.iter().any(|branch| branch == revision)
    }

    /// What the hub tells of it and its files.
    pub(super) fn info(&self) -> Value {
        let sibling = |(name, file): (&String, &RemoteContent)| {
            let mut sibling = json!({"rfilename": name});
            if self.tells_hashes {
                sibling["size"] = json!(file.content.len());
                sibling["blobId"] = json!(RemoteContent { is_large: false, ..file.clone() }.digits());
                if file.is_large {
                    let size = file.content.len();
                    sibling["lfs"] = json!({"sha256": file.digits(), "size": size, "pointerSize": 134});
                }
            }
            sibling
        };
        let siblings: Vec<Value> = self.files.iter().map(sibling).collect();
        let told = json!({
            "id": self.id, "modelId": self.id, "sha": COMMIT, "private": false, "gated": false,
            "tags": [], "downloads": 0, "siblings": siblings,
        });
        self.list.clone().unwrap_or(told)
    }

    /// The list of files as a tree, which Hugging Face's own library asks for.
    pub(super) fn tree(&self) -> Value {
        let entry = |(path, file): (&String, &RemoteContent)| {
            let (size, oid) = (file.content.len(), file.digits());
            let git = RemoteContent { is_large: false, ..file.clone() }.digits();
            let mut entry = json!({"type": "file", "path": path, "size": size, "oid": git});
            if file.is_large {
                entry["lfs"] = json!({"oid": oid, "size": size, "pointerSize": 134});
            }
            entry
        };
        self.files.iter().map(entry).collect()
    }
}
