//! The built-in demonstration model: a small Llama that knows a few things, so that the first
//! command does its job with nothing to download. `host-linux/demo` holds it, and how it was
//! trained.
use super::folder::Folder;
use std::path::PathBuf;
use std::sync::Arc;

/// The name under which the built-in model is served.
pub const NAME: &str = "verbatim-demo";

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/model/", $name)).as_slice())
    };
}

const FILES: [(&str, &[u8]); 6] = [
    file!("chat_template.jinja"),
    file!("config.json"),
    file!("generation_config.json"),
    file!("model.safetensors"),
    file!("tokenizer.json"),
    file!("tokenizer_config.json"),
];

/// The files of the built-in model, as they would lie in a directory.
pub fn folder() -> Folder {
    let files = FILES.iter().map(|(name, bytes)| ((*name).to_owned(), Arc::from(*bytes))).collect();
    Folder::Memory { name: PathBuf::from(NAME), files }
}
