//! llama.cpp beside us: its llama-perplexity on the same windows of the same tokens, and what its
//! files take.
use super::super::peer::output;
use super::logits_file::LogitsFile;
use std::path::{Path, PathBuf};
use std::process::Command;
use verbatim::load::Folder;
use verbatim::load::gguf::header::read_header;
use verbatim_tests::temporary::TemporaryDirectory;

/// The flags that name llama-perplexity and its models.
#[derive(Debug, clap::Args)]
pub(crate) struct LlamaArgs {
    /// Path of llama.cpp's llama-perplexity. The table is then of its windows: each has --window
    /// tokens of which the second half is scored.
    #[arg(long, requires = "gguf")]
    llama_perplexity: Option<PathBuf>,
    /// A GGUF file for llama-perplexity. The first, best of the model's weights in F32, is what all
    /// others and ours are compared with. May be given several times.
    #[arg(long, requires = "llama_perplexity")]
    gguf: Vec<PathBuf>,
}

impl LlamaArgs {
    /// The program, its first file and the others; `None` if it is not asked for.
    pub(super) fn named(&self) -> Option<(&Path, &Path, &[PathBuf])> {
        let (first, others) = self.gguf.split_first()?;
        Some((self.llama_perplexity.as_deref()?, first, others))
    }
}

/// How llama-perplexity is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Perplexity<'p> {
    pub(super) program: &'p Path,
    pub(super) text: &'p Path,
    /// Tokens of a window, at least 4.
    pub(super) window: usize,
    /// The number of windows, at least 1.
    pub(super) windows: usize,
    pub(super) threads: usize,
}

/// What llama-perplexity found and wrote, in a folder that lives as long.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) logits: LogitsFile,
    /// The perplexity of the tokens that it scored, of more digits than its file has.
    pub(super) perplexity: f64,
    _folder: TemporaryDirectory,
}

impl Perplexity<'_> {
    /// Runs it on a GGUF file. Its cache is in f32 and attention is computed step by step, so that
    /// only weights, and what rows are rounded to before they meet them, make a difference.
    pub(super) fn run(&self, gguf: &Path) -> Result<Written, String> {
        let folder = TemporaryDirectory::new("llama-perplexity");
        let path = folder.path().join("logits");
        let mut command = Command::new(self.program);
        command.arg("-m").arg(gguf).arg("-f").arg(self.text).arg("--kl-divergence-base").arg(&path);
        let numbers =
            [("-c", self.window), ("-b", self.window), ("-ub", self.window), ("--chunks", self.windows)];
        for (flag, number) in numbers.into_iter().chain([("-t", self.threads)]) {
            command.arg(flag).arg(number.to_string());
        }
        command.args(["-ctk", "f32", "-ctv", "f32", "-fa", "off", "--no-escape", "--no-warmup"]);
        let printed = output(&mut command)?;
        let logits = LogitsFile::open(&path, self.window)
            .map_err(|error| format!("{error} (the text must have twice the tokens of a window)"))?;
        let perplexity = last_perplexity(&printed).ok_or_else(|| {
            format!("{} printed no perplexity such as \"[8]12.3456,\"", self.program.display())
        })?;
        Ok(Written { logits, perplexity, _folder: folder })
    }
}

/// The perplexity after the last window in `[1]120.2661,[2]121.7045,`.
fn last_perplexity(printed: &str) -> Option<f64> {
    let (_, last) = printed.rsplit_once(']')?;
    last.split_once(',')?.0.trim().parse().ok()
}

/// The windows that llama-perplexity feeds to a model, from its own tokens; an error if these are
/// not ours. What begins a text stands before the first window, and in place of the first token of
/// each other.
pub(super) fn windows(theirs: &LogitsFile, ours: &[u32]) -> Result<Vec<Vec<u32>>, String> {
    let tokens = theirs.tokens();
    let begins = tokens.len() <= ours.len() && tokens == &ours[..tokens.len()];
    let begin = tokens[0];
    let is_begun = !begins && ours.starts_with(&tokens[1..]);
    if !begins && !is_begun {
        let same = tokens.iter().zip(ours).take_while(|(a, b)| a == b).count();
        let of = |ids: &[u32]| ids.get(same).map_or_else(|| "none".to_owned(), u32::to_string);
        return Err(format!(
            "token {} of the text is {} by llama-perplexity and {} by Verbatim, so nothing can be compared: \
             are both of the same model?",
            same + 1,
            of(tokens),
            of(ours)
        ));
    }
    let mut windows: Vec<Vec<u32>> =
        tokens.chunks(tokens.len() / theirs.windows()).map(<[u32]>::to_vec).collect();
    if is_begun {
        windows.iter_mut().for_each(|window| window[0] = begin);
    }
    Ok(windows)
}

/// What a GGUF file takes: bits a weight of the layers' products, and bytes in all.
pub(super) fn size(gguf: &Path) -> Result<(f64, u64), String> {
    let name = gguf.file_name().and_then(|name| name.to_str()).ok_or("--gguf: a name that is no UTF-8")?;
    let file = Folder::File(gguf.to_owned()).open(name).map_err(|error| error.to_string())?;
    let file = file.ok_or_else(|| format!("--gguf {}: not found", gguf.display()))?;
    let header = read_header(&file).map_err(|error| error.to_string())?;
    let products =
        header.tensors.iter().filter(|tensor| tensor.name.starts_with("blk.") && tensor.shape.len() == 2);
    let (mut bytes, mut weights) = (0, 0);
    for tensor in products {
        bytes += tensor.bytes;
        weights += tensor.shape.iter().product::<usize>();
    }
    Ok((bytes as f64 * 8.0 / weights.max(1) as f64, file.len))
}

/// What a file is called in the table.
pub(super) fn name_of(gguf: &Path) -> String {
    let stem = gguf.file_stem().unwrap_or_default().to_string_lossy();
    format!("llama.cpp, {stem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_windows_perplexity_is_taken() {
        assert_eq!(last_perplexity("a [b] line\n[1]120.2661,[2]121.7045,\n\nFinal\n"), Some(121.7045));
        for wrong in ["", "[1]", "[1]x,", "1.0,"] {
            assert_eq!(last_perplexity(wrong), None, "{wrong}");
        }
    }
}
