//! `verbatim show`: what a model of the cache is, and whether it can be served.
use super::flags::{ShowArgs, in_shell};
use super::list::cache;
use super::told::failure;
use crate::cli::errors;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::hub::card::licence;
use crate::hub::scan::{CachedCommit, CachedFile, locate};
use crate::hub::{CachedRepository, HubError};
use crate::load::gguf::shards::EXTENSION;
use crate::load::{Examined, Folder, LoadError, RepositoryName, examine};
use crate::text::figures;
use crate::text::quote::shorten;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Characters of a file's path that are shown, at most. Another program may have fetched it.
const PATH_SHOWN: usize = 200;

/// A model of a commit: the checkpoint of a folder, or one of its GGUF files.
struct Model {
    /// What names it in a command.
    name: RepositoryName,
    examined: Result<Examined, LoadError>,
}

/// Everything that is told of a commit.
struct Shown {
    name: RepositoryName,
    folder: PathBuf,
    commit: CachedCommit,
    licence: Option<String>,
    models: Vec<Model>,
}

/// Prints what a model is.
pub(in crate::cli) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let shown = look(&cache()?, &args.name).map_err(|error| failure(&error))?;
    if args.json {
        output::line(as_json(&shown))?;
    } else {
        output::lines(&lines(&shown))?;
    }
    Ok(())
}

fn look(cache: &Path, name: &RepositoryName) -> Result<Shown, HubError> {
    let repository = CachedRepository::read(cache, name)?;
    let folder = match (locate(cache, name), repository.main_commit()) {
        (Ok(folder), _) => folder,
        // Fetched by its commit alone, it is at no branch.
        (Err(_), Some(commit)) if name.revision.is_none() => repository.cache.snapshot(&commit.id),
        (Err(error), _) => return Err(error),
    };
    let id = folder.file_name().and_then(|id| id.to_str()).unwrap_or_default();
    let commit = repository
        .commit(id)
        .cloned()
        .ok_or_else(|| HubError::NotCached { name: name.clone(), looked: folder.clone() })?;
    let models = models(&commit, &folder, name)?;
    Ok(Shown { name: name.clone(), licence: licence(&folder), folder, commit, models })
}

/// The models of a commit; with a mix those of that mix.
fn models(commit: &CachedCommit, folder: &Path, name: &RepositoryName) -> Result<Vec<Model>, HubError> {
    let of = |mix: Option<&str>, path: &Path| Model {
        name: name.with_mix(mix),
        examined: Folder::of_checkpoint(path)
            .ok_or_else(|| LoadError::malformed(path, "is no GGUF file"))
            .and_then(|folder| examine(&folder)),
    };
    let has_checkpoint =
        commit.files.keys().any(|file| file == "config.json" || file.ends_with(".safetensors"));
    let mut found = Vec::new();
    if name.mix.is_none() && has_checkpoint {
        found.push(of(None, folder));
    }
    for (mix, files) in commit.mixes() {
        let asked = name.mix.as_ref().is_none_or(|asked| asked.eq_ignore_ascii_case(&mix));
        if let Some(first) = files.first().filter(|_| asked) {
            found.push(of(Some(&mix), &folder.join(first)));
        }
    }
    if found.is_empty() && name.mix.is_some() {
        let looked = folder.join(format!("*{}*{EXTENSION}", name.mix.as_deref().unwrap_or_default()));
        return Err(HubError::NotCached { name: name.clone(), looked });
    }
    Ok(found)
}

fn lines(shown: &Shown) -> Vec<String> {
    let mut lines = vec![
        format!("model     {}", shown.name.id()),
        format!("revision  {} ({})", shown.name.revision(), shown.commit.id),
        format!("folder    {}", shown.folder.display()),
        format!("licence   {}", shown.licence.as_deref().unwrap_or("none is named in a README")),
        format!("size      {} in {} files", figures::bytes(shown.commit.bytes()), shown.commit.files.len()),
    ];
    for (path, file) in &shown.commit.files {
        let bytes = file.bytes.map_or("is missing".to_owned(), figures::bytes);
        lines.push(format!("          {bytes:>10}  {}", shorten(path, PATH_SHOWN)));
    }
    if shown.models.is_empty() {
        lines.push("serves    no: it has neither safetensors nor a GGUF file".to_owned());
    }
    for model in &shown.models {
        match &model.examined {
            Err(error) => lines.push(format!("serves    no: {}", errors::load(error))),
            Ok(found) => lines.extend(served(model, found)),
        }
    }
    lines
}

/// What is told of a model that can be served.
fn served(model: &Model, found: &Examined) -> Vec<String> {
    let config = &found.config;
    let types: Vec<String> = found
        .stored
        .iter()
        .map(|weights| format!("{:.1} M in {}", weights.weight_count as f64 / 1e6, weights.source))
        .collect();
    let formats: Vec<String> = found
        .formats
        .iter()
        .map(|(format, bytes)| {
            let own = if *format == config.weight_format { " (as it is)" } else { "" };
            format!("{} {}{own}", format.name(), figures::bytes(*bytes))
        })
        .collect();
    let text = if found.has_tokenizer { "" } else { ", but it has no tokenizer" };
    vec![
        format!("serves    yes, `verbatim --model {}`{text}", in_shell(&model.name)),
        format!(
            "          {}, {} layers, context {}; weights: {}",
            config.architecture.family().model_type,
            config.layer_count,
            config.position_count,
            types.join(", ")
        ),
        format!("          --weights {}", formats.join(", ")),
    ]
}

fn as_json(shown: &Shown) -> Value {
    let file = |(path, file): (&String, &CachedFile)| {
        let blob = file.blob.display().to_string();
        json!({"path": path, "bytes": file.bytes, "blob": blob})
    };
    json!({
        "name": shown.name.id(),
        "revision": shown.name.revision(),
        "commit": shown.commit.id,
        "folder": shown.folder.display().to_string(),
        "licence": shown.licence,
        "bytes": shown.commit.bytes(),
        "files": shown.commit.files.iter().map(file).collect::<Vec<_>>(),
        "models": shown.models.iter().map(model_json).collect::<Vec<_>>(),
    })
}

fn model_json(model: &Model) -> Value {
    let name = model.name.to_string();
    let found = match &model.examined {
        Ok(found) => found,
        Err(error) => return json!({"name": name, "served": false, "why_not": errors::load(error)}),
    };
    let weights =
        found.stored.iter().map(|weights| json!({"type": weights.source, "count": weights.weight_count}));
    let formats =
        found.formats.iter().map(|(format, bytes)| json!({"format": format.name(), "bytes": bytes}));
    json!({
        "name": name,
        "served": true,
        "model_type": found.config.architecture.family().model_type,
        "layers": found.config.layer_count,
        "context": found.config.position_count,
        "tokenizer": found.has_tokenizer,
        "weights": weights.collect::<Vec<_>>(),
        "own_format": found.config.weight_format.name(),
        "formats": formats.collect::<Vec<_>>(),
    })
}
