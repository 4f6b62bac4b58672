//! Flags of the Batch API.
use super::super::values::whole;
use crate::batch::batches::Batches;
use crate::batch::error::BatchLimits;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct BatchDirArgs {
    /// Folder in which /v1/files and /v1/batches keep files [default: none, and there are no files
    /// and batches].
    ///
    /// It is made if it is not there. What a batch has not answered when the server ends, it
    /// answers when it is started again.
    #[arg(long, env = "VERBATIM_BATCH_DIR", value_name = "DIR", help_heading = "Server")]
    batch_dir: Option<PathBuf>,
    /// Bytes of a file that is sent to /v1/files, at most.
    #[arg(long, env = "VERBATIM_MAX_FILE_BYTES", value_name = "N", value_parser = whole::<usize>, default_value_t = BatchLimits::default().file_bytes)]
    max_file_bytes: usize,
    /// Files that are kept, and batches, of each so many.
    #[arg(long, env = "VERBATIM_MAX_BATCHES", value_name = "N", value_parser = whole::<usize>, default_value_t = BatchLimits::default().entries)]
    max_batches: usize,
    /// Files that are kept of one API key, and batches, of each so many [default: a quarter of
    /// max-batches].
    #[arg(long, env = "VERBATIM_MAX_KEY_BATCHES", value_name = "N", value_parser = whole::<usize>)]
    max_key_batches: Option<usize>,
    /// Bytes of all files that are kept together, at most.
    #[arg(long, env = "VERBATIM_MAX_BATCH_BYTES", value_name = "N", value_parser = whole::<u64>, default_value_t = BatchLimits::default().total_bytes)]
    max_batch_bytes: u64,
    /// Bytes of all files of one API key together, at most [default: a quarter of max-batch-bytes].
    #[arg(long, env = "VERBATIM_MAX_KEY_BATCH_BYTES", value_name = "N", value_parser = whole::<u64>)]
    max_key_batch_bytes: Option<u64>,
    /// Lines of a batch, at most.
    #[arg(long, env = "VERBATIM_MAX_BATCH_LINES", value_name = "N", value_parser = whole::<usize>, default_value_t = BatchLimits::default().lines)]
    max_batch_lines: usize,
}

impl BatchDirArgs {
    /// Opens the folder, if one is given. What its owner should know of it comes along, a sentence
    /// each.
    pub(in crate::cli) fn open(&self) -> Result<(Option<Arc<Batches>>, Vec<String>), String> {
        let Some(path) = self.batch_dir.as_deref().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok((None, Vec::new()));
        };
        let limits = BatchLimits {
            file_bytes: self.max_file_bytes,
            entries: self.max_batches,
            key_entries: self.max_key_batches.unwrap_or(self.max_batches.div_ceil(4)),
            total_bytes: self.max_batch_bytes,
            key_bytes: self.max_key_batch_bytes.unwrap_or(self.max_batch_bytes.div_ceil(4)),
            lines: self.max_batch_lines,
        };
        let opened = Batches::open(path, limits);
        let (batches, notes) = opened.map_err(|error| format!("--batch-dir: {error}"))?;
        Ok((Some(Arc::new(batches)), notes))
    }
}
