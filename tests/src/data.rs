//! Test data that is not in the repository: real models, tokenizers and texts.
//!
//! It is looked for in the folder that `VERBATIM_TESTDATA` names, else in `shared` beside the
//! repository. Nothing is covered by it alone.
use std::path::{Path, PathBuf};

/// The path of `name` in the test data, or `None` after saying that `test` is skipped.
pub fn find(test: &str, name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VERBATIM_TESTDATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {test} (no test data: {name})");
    None
}
