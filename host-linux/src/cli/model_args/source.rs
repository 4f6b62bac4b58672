//! Flags that say which model is opened, and how its weights are stored.
use super::Group;
use crate::cli::hub::flags::OfflineArgs;
use crate::load::{Compress, ImageAccess, WeightChoice};
use crate::runtime::{ModelSource, Options};
use clap::Args;
use clap::builder::BoolishValueParser;

/// The model to open.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct SourceArgs {
    /// The model: a path, or ORG/NAME in the local Hugging Face cache [default: a small built-in
    /// demonstration model].
    ///
    /// A path names a checkpoint's directory, a GGUF file or a packed image. ORG/NAME may have
    /// :Q4_K_M behind it, for one of the GGUF files of that repository.
    #[arg(long, env = "VERBATIM_MODEL", value_name = "PATH|ORG/NAME")]
    pub(in crate::cli) model: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) hub: OfflineArgs,
}

impl Group for SourceArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.model = self.model.clone().map_or(ModelSource::BuiltIn, ModelSource::Named);
        Ok(())
    }
}

/// How weights are stored.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct FormatArgs {
    /// Weight format: f32, bf16, int8, int6, int5 or int4 [default: the source's own, bf16 for f16,
    /// int8 for a quantized GGUF file].
    ///
    /// The last three keep the values and the head in int8. Some products may differ:
    /// FORMAT:PRODUCT=FORMAT,… of value, output, down and head, such as int4:down=int8.
    #[arg(long, env = "VERBATIM_WEIGHTS", value_name = "FORMAT")]
    weights: Option<String>,
    /// Weight format of the output head: one of these or same [default: int8 with int4, int5 and
    /// int6 weights, else same].
    #[arg(long, env = "VERBATIM_HEAD", value_name = "FORMAT")]
    head: Option<String>,
    /// Store bf16 weights in 12 bits each, which changes no answer: on, off or auto
    /// [default: auto].
    ///
    /// auto does it for a large checkpoint if it decodes max-seqs sequences faster on this CPU. A
    /// packed image stays as it is.
    #[arg(long, env = "VERBATIM_COMPRESS", value_name = "WHEN")]
    compress: Option<String>,
}

impl Group for FormatArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        let weights = WeightChoice::named(self.weights.as_deref(), self.head.as_deref());
        options.weights = weights.map_err(|error| format!("--{error}"))?;
        options.compress = self.compress.as_deref().map_or(Ok(Compress::Auto), compress)?;
        Ok(())
    }
}

fn compress(name: &str) -> Result<Compress, String> {
    match name {
        "auto" => Ok(Compress::Auto),
        "on" => Ok(Compress::On),
        "off" => Ok(Compress::Off),
        _ => Err(format!("--compress {name}: expected auto, on or off")),
    }
}

/// How the file of a packed image is used.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct ImageArgs {
    /// Check the hash of a packed image's weights before serving it, which reads the whole file.
    #[arg(long, env = "VERBATIM_VERIFY", value_parser = BoolishValueParser::new())]
    verify: bool,
    /// Read a packed image into memory with huge pages. Otherwise it is served from the mapped
    /// file.
    #[arg(long, env = "VERBATIM_COPY", value_parser = BoolishValueParser::new())]
    copy: bool,
}

impl Group for ImageArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.access = ImageAccess { copy: self.copy, verify: self.verify };
        Ok(())
    }
}
