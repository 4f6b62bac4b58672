//! Where each tensor of a checkpoint lies: `model.safetensors`, or the shards of
//! `model.safetensors.index.json`.
//!
//! The `safetensors` crate reads a header and proves that its tensors lie one after another without
//! gaps or overlaps, each as long as its shape and type say; this adds that they end where the file
//! does, that no name occurs twice, and that shards are files of the same directory.
use super::checkpoint::{Checkpoint, Elements, Naming, RowOrder, TensorEntry};
use super::error::{LoadError, shorten};
use super::folder::{Folder, SourceFile};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use verbatim_core::kernels::matmul::source::SourceType;

/// The largest length of a header in bytes, as the format says.
const HEADER_MAX: u64 = 100_000_000;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What the names of tensors begin with where a head stands beside them.
const WHOLE: &str = "model.";
/// The embedding of a model that was saved without a head.
const BARE_EMBEDDING: &str = "embed_tokens.weight";

impl Checkpoint {
    /// Opens the safetensors files of a folder and reads their headers.
    pub fn open(folder: &Folder) -> Result<Checkpoint, LoadError> {
        let directory = folder.path().to_owned();
        let mut checkpoint = Checkpoint {
            directory,
            files: Vec::new(),
            tensors: BTreeMap::new(),
            naming: Naming::HuggingFace,
            is_bare: false,
        };
        if let Some(single) = folder.open(SINGLE)? {
            checkpoint.add(single)?;
            return Ok(checkpoint.named_as_whole());
        }
        let index = folder.join(INDEX);
        let Some(bytes) = folder.read_small(INDEX, HEADER_MAX)? else {
            let what = format!("has neither {SINGLE} nor {INDEX}");
            return Err(LoadError::malformed(folder.path(), what));
        };
        let places = shards(&index, &bytes)?;
        let names: BTreeSet<&String> = places.values().collect();
        for name in names {
            let missing =
                || LoadError::malformed(&folder.join(name), format!("is missing, though {INDEX} names it"));
            checkpoint.add(folder.open(name)?.ok_or_else(missing)?)?;
        }
        for (tensor, shard) in &places {
            let path = folder.join(shard);
            let found = checkpoint.tensors.get(tensor).map(|entry| &checkpoint.files[entry.file].path);
            if found != Some(&path) {
                let found = found.map_or("nothing".to_owned(), |path| format!("it in {}", path.display()));
                return Err(LoadError::tensor(&path, tensor, found, format!("it here, as {INDEX} says")));
            }
        }
        Ok(checkpoint.named_as_whole())
    }

    /// Gives the tensors the names that they have beside a head. Embedding models are often saved
    /// without one, and the names then begin behind `model.`.
    fn named_as_whole(mut self) -> Self {
        let begins_whole = |name: &String| name.starts_with(WHOLE);
        self.is_bare = self.tensors.contains_key(BARE_EMBEDDING) && !self.tensors.keys().any(begins_whole);
        if self.is_bare {
            let named = |(name, entry)| (format!("{WHOLE}{name}"), entry);
            self.tensors = self.tensors.into_iter().map(named).collect();
        }
        self
    }

    /// Reads one file's header.
    fn add(&mut self, source: SourceFile) -> Result<(), LoadError> {
        let (path, len) = (&source.path, source.len);
        let mut prefix = [0; 8];
        if len < 8 {
            return Err(LoadError::malformed(
                path,
                format!("has {len} bytes, expected a header of at least 8"),
            ));
        }
        source.read(0, &mut prefix)?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > HEADER_MAX || header_len > len - 8 {
            let max = HEADER_MAX.min(len - 8);
            let what = format!("the header says it is {header_len} bytes long, expected at most {max}");
            return Err(LoadError::malformed(path, what));
        }
        let mut header = vec![0; header_len as usize];
        source.read(8, &mut header)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
            LoadError::malformed(path, format!("the header is not valid: {}", shorten(&error.to_string())))
        })?;
        let expected = (metadata.data_len() as u64).saturating_add(8 + header_len);
        if len != expected {
            let what = format!("has {len} bytes, expected {expected} as its header says");
            return Err(LoadError::malformed(path, what));
        }
        let number = self.files.len();
        for (name, info) in metadata.tensors() {
            let entry = TensorEntry {
                file: number,
                offset: 8 + header_len + info.data_offsets.0 as u64,
                elements: elements(info.dtype),
                type_name: info.dtype.to_string(),
                shape: info.shape.clone(),
                order: RowOrder::Plain,
            };
            if let Some(other) = self.tensors.insert(name.clone(), entry) {
                let other = self.files.get(other.file).map_or(path, |file| &file.path);
                let found = format!("it in {} too", other.display());
                return Err(LoadError::tensor(path, &name, found, "it once"));
            }
        }
        self.files.push(source);
        Ok(())
    }
}

/// What elements of a type are, if they are of one that can be packed.
fn elements(dtype: Dtype) -> Option<Elements> {
    match dtype {
        Dtype::F32 => Some(Elements::Float(SourceType::F32)),
        Dtype::F16 => Some(Elements::Float(SourceType::F16)),
        Dtype::BF16 => Some(Elements::Float(SourceType::Bf16)),
        _ => None,
    }
}

/// The index's map from tensor to file name, each a plain name.
fn shards(index: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, LoadError> {
    let map = super::config::parse_object(index, bytes)?;
    let Some(places) = map.get("weight_map").and_then(serde_json::Value::as_object) else {
        let found = map.get("weight_map").map_or("nothing".to_owned(), serde_json::Value::to_string);
        return Err(LoadError::field(index, "weight_map", found, "an object of tensor and file names"));
    };
    let mut plain = BTreeMap::new();
    for (tensor, file) in places {
        let error =
            || LoadError::field(index, format!("weight_map.{tensor}"), file.to_string(), "a plain file name");
        let name = file.as_str().ok_or_else(error)?;
        let mut components = Path::new(name).components();
        let is_plain = matches!(components.next(), Some(Component::Normal(part)) if part == name);
        if !is_plain || components.next().is_some() || name.contains('\0') {
            return Err(error());
        }
        plain.insert(tensor.clone(), name.to_owned());
    }
    if plain.is_empty() {
        return Err(LoadError::field(index, "weight_map", "{}", "at least one tensor"));
    }
    Ok(plain)
}
