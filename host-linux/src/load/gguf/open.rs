//! A GGUF model as a checkpoint: its tensors, and the files that would lie beside them.
use super::config::{architecture, config_json, head_dim};
use super::header::{TensorInfo, read_header};
use super::metadata::Metadata;
use super::rope_factors;
use super::text::text_files;
use crate::load::checkpoint::{Checkpoint, Elements, Naming, RowOrder, TensorEntry};
use crate::load::error::LoadError;
use crate::load::folder::{Folder, SourceFile};
use crate::load::opened::OpenedModel;
use std::collections::BTreeMap;
use verbatim_core::kernels::matmul::source::SourceType;

/// Divisors of frequencies, at most: half of the largest head.
const FACTORS_MAX: usize = 1 << 16;

/// Opens the files of one model, whose names are given in their order, and reads their headers.
pub(in crate::load) fn open(folder: &Folder, names: &[String]) -> Result<OpenedModel, LoadError> {
    let mut files = Vec::new();
    let mut tensors: Vec<(usize, TensorInfo)> = Vec::new();
    let mut metadata: Option<Metadata> = None;
    for (number, name) in names.iter().enumerate() {
        let missing = || LoadError::malformed(&folder.join(name), "is missing");
        let file = folder.open(name)?.ok_or_else(missing)?;
        let header = read_header(&file)?;
        check_place(&header.metadata, number, names.len())?;
        tensors.extend(header.tensors.into_iter().map(|tensor| (number, tensor)));
        metadata.get_or_insert(header.metadata);
        files.push(file);
    }
    let metadata = metadata.expect("a model has a file");
    if let Some(count) = metadata.unsigned("split.tensors.count")?
        && count != tensors.len() as u64
    {
        return Err(metadata.error("split.tensors.count", format!("{}, as the shards have", tensors.len())));
    }
    let factors = factors(&files, &tensors)?;
    let infos: Vec<TensorInfo> = tensors.iter().map(|(_, tensor)| tensor.clone()).collect();
    let config = config_json(&metadata, &infos, factors.as_deref())?;
    let text = text_files(&metadata)?;
    let beside = vec![
        ("config.json", Some(config)),
        ("generation_config.json", Some(text.generation_config_json)),
        ("tokenizer.json", Some(text.tokenizer_json)),
        ("tokenizer_config.json", Some(text.tokenizer_config_json)),
        ("special_tokens_map.json", None),
        ("chat_template.jinja", None),
    ];
    let tensors = entries(&metadata, &files, tensors)?;
    let directory = files[0].path.clone();
    let checkpoint = Checkpoint { directory, files, tensors, naming: Naming::Gguf, is_bare: false };
    Ok(OpenedModel { beside, checkpoint })
}

/// Checks that a file is the shard that its name says.
fn check_place(metadata: &Metadata, number: usize, count: usize) -> Result<(), LoadError> {
    // A file that says nothing is whole.
    let (own_number, own_count) = (metadata.unsigned("split.no")?, metadata.unsigned("split.count")?);
    let own_count = own_count.filter(|count| *count > 0).unwrap_or(1);
    if own_count != count as u64 {
        let expected =
            format!("{count}, as its name says: shards are named NAME-00001-of-00003.gguf and so on");
        return Err(metadata.error("split.count", expected));
    }
    if own_number.unwrap_or(0) != number as u64 {
        return Err(metadata.error("split.no", format!("{number}, as its name says")));
    }
    Ok(())
}

/// The divisors of the frequencies, if the model has such a tensor.
fn factors(files: &[SourceFile], tensors: &[(usize, TensorInfo)]) -> Result<Option<Vec<f32>>, LoadError> {
    let Some((file, tensor)) = tensors.iter().find(|(_, tensor)| tensor.name == rope_factors::TENSOR) else {
        return Ok(None);
    };
    let file = &files[*file];
    let is_plain = tensor.kind.elements == Some(Elements::Float(SourceType::F32));
    let [count @ 1..=FACTORS_MAX] = tensor.shape[..] else {
        let found = format!("shape {:?}", tensor.shape);
        return Err(LoadError::tensor(&file.path, &tensor.name, found, "one dimension, of half a head"));
    };
    if !is_plain {
        return Err(LoadError::tensor(&file.path, &tensor.name, tensor.kind.name, "F32"));
    }
    let mut bytes = vec![0; count * size_of::<f32>()];
    file.read(tensor.offset, &mut bytes)?;
    let float = |x: &[u8]| f32::from_le_bytes([x[0], x[1], x[2], x[3]]);
    Ok(Some(bytes.chunks_exact(size_of::<f32>()).map(float).collect()))
}

/// The tensors by name, each of which is there once and of a type that is served.
fn entries(
    metadata: &Metadata,
    files: &[SourceFile],
    tensors: Vec<(usize, TensorInfo)>,
) -> Result<BTreeMap<String, TensorEntry>, LoadError> {
    let head_dim = head_dim(metadata)?;
    let are_neighbours = architecture(metadata)? == "llama";
    let mut entries = BTreeMap::new();
    for (file, tensor) in tensors {
        let path = &files[file].path;
        if tensor.kind.elements.is_none() {
            let expected =
                "a type that is served: take the model in another mix, such as Q4_K_M, Q6_K or Q8_0";
            return Err(LoadError::tensor(path, &tensor.name, tensor.kind.name, expected));
        }
        let is_rotated = [".attn_q.", ".attn_k."].iter().any(|part| tensor.name.contains(part));
        let order = match is_rotated && are_neighbours {
            true => RowOrder::Neighbours { head_dim },
            false => RowOrder::Plain,
        };
        let entry = TensorEntry {
            file,
            offset: tensor.offset,
            elements: tensor.kind.elements,
            type_name: tensor.kind.name.to_owned(),
            shape: tensor.shape,
            order,
        };
        if let Some(other) = entries.insert(tensor.name.clone(), entry) {
            let found = format!("it in {} too", files[other.file].path.display());
            return Err(LoadError::tensor(path, &tensor.name, found, "it once"));
        }
    }
    Ok(entries)
}
