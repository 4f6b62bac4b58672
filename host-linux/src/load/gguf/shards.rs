//! Which files make a model: one, or shards whose names count them.
use crate::load::error::{LoadError, shorten};
use crate::load::folder::Folder;
use std::path::Path;

/// How the name of a GGUF file ends.
pub const EXTENSION: &str = ".gguf";

/// Shards of a model, at most.
const SHARDS_MAX: usize = 10_000;

/// How the names of files begin that hold only the part of a model which sees images.
const PROJECTOR: &str = "mmproj";

/// What the name of a shard says, `NAME-00002-of-00005.gguf`: what stands before the numbers, its
/// number from 1 on, and how many there are.
fn of_shard(name: &str) -> Option<(&str, usize, usize)> {
    let stem = name.strip_suffix(EXTENSION)?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let read = |digits: &str| {
        let is_plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain { digits.parse::<usize>().ok() } else { None }
    };
    let (number, count) = (read(number)?, read(count)?);
    (1..=count.min(SHARDS_MAX)).contains(&number).then_some((base, number, count))
}

/// The names of all files of the model that a file is of, in their order.
pub(crate) fn all_shards(name: &str) -> Vec<String> {
    match of_shard(name) {
        Some((base, _, count)) if count <= SHARDS_MAX => {
            (1..=count).map(|number| format!("{base}-{number:05}-of-{count:05}{EXTENSION}")).collect()
        }
        _ => vec![name.to_owned()],
    }
}

/// The GGUF files among names, each model once: by its only file or its first shard.
pub(crate) fn models<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let is_first = |name: &&str| of_shard(name).is_none_or(|(_, number, _)| number == 1);
    let is_model = |name: &&str| {
        name.ends_with(EXTENSION) && !name.rsplit('/').next().is_some_and(|file| file.starts_with(PROJECTOR))
    };
    let mut models: Vec<_> = names.filter(is_model).filter(is_first).collect();
    models.sort_unstable();
    models
}

/// The names of the files of the one GGUF model in a folder, in their order; `None` if it holds
/// a checkpoint of Hugging Face, or no GGUF file.
pub(in crate::load) fn find(folder: &Folder) -> Result<Option<Vec<String>>, LoadError> {
    if let Folder::File(path) = folder {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| LoadError::malformed(path, "has a name that is no UTF-8"))?;
        return Ok(Some(all_shards(name)));
    }
    if folder.has("config.json") {
        return Ok(None);
    }
    let names = folder.names()?;
    match models(names.iter().map(String::as_str))[..] {
        [] => Ok(None),
        [one] => Ok(Some(all_shards(one))),
        ref several => Err(several_models(folder.path(), several)),
    }
}

/// Whether the name of a file says that it is of a mix, such as `Q4_K_M`, in letters of any case.
/// `Q4_K` is not the mix of a name that says `Q4_K_M`.
pub(crate) fn is_of_mix(name: &str, mix: &str) -> bool {
    let (name, mix) = (name.to_ascii_uppercase(), mix.to_ascii_uppercase());
    let ends_word = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
    !mix.is_empty()
        && name.match_indices(&mix).any(|(at, _)| {
            ends_word(name[..at].chars().next_back()) && ends_word(name[at + mix.len()..].chars().next())
        })
}

/// The error that names the models of a folder, for one of them to be chosen.
pub(crate) fn several_models(path: &Path, models: &[&str]) -> LoadError {
    let what = format!("holds {} GGUF models: give the path of one of {}", models.len(), list(models));
    LoadError::malformed(path, what)
}

/// The error that names the models of a folder, none of which is of a mix.
pub(crate) fn none_of_mix(path: &Path, mix: &str, models: &[&str]) -> LoadError {
    let mix = shorten(mix);
    let what = match models {
        [] => format!("has no GGUF model, though the name asks for the mix {mix}"),
        _ => format!("has no GGUF model of the mix {mix}, but {}", list(models)),
    };
    LoadError::malformed(path, what)
}

fn list(models: &[&str]) -> String {
    const NAMED_MAX: usize = 8;
    let mut list = models.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if models.len() > NAMED_MAX {
        list.push_str(", …");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_by_their_numbers() {
        assert_eq!(of_shard("m-Q4-00002-of-00003.gguf"), Some(("m-Q4", 2, 3)));
        for name in
            ["m.gguf", "m-2-of-3.gguf", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-00001-of-00003"]
        {
            assert_eq!(of_shard(name), None, "{name}");
        }
        assert_eq!(all_shards("m-00002-of-00002.gguf"), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        assert_eq!(all_shards("m.gguf"), ["m.gguf"]);
        let names =
            ["b.gguf", "README.md", "a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "mmproj-b.gguf"];
        assert_eq!(models(names.into_iter()), ["a-00001-of-00002.gguf", "b.gguf"]);
    }

    #[test]
    fn a_mix_is_a_whole_word_of_a_name() {
        for (name, mix, expected) in [
            ("m-Q4_K_M.gguf", "q4_k_m", true),
            ("m-Q4_K_M.gguf", "Q4_K", false),
            ("m.IQ4_XS.gguf", "Q4_XS", false),
            ("m-q8_0-00001-of-00002.gguf", "Q8_0", true),
            ("m-q8_0.gguf", "", false),
        ] {
            assert_eq!(is_of_mix(name, mix), expected, "{name} {mix}");
        }
    }

    #[test]
    fn one_of_several_models_has_to_be_chosen() {
        let error = several_models(Path::new("d"), &["a.gguf", "b.gguf"]).to_string();
        assert_eq!(error, "d: holds 2 GGUF models: give the path of one of a.gguf, b.gguf");
    }
}
