//! Ids by llama.cpp of real files, where the test data have any (`tests/goldens/README.md`).
use super::super::text_files;
use crate::load::Folder;
use crate::load::gguf::header::read_header;
use crate::text::{ChatTemplate, Tokenizer};
use serde::Deserialize;
use std::time::Instant;
use verbatim_tests::{data, golden};

#[derive(Deserialize)]
struct Ids {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    /// The ids where special tokens are ordinary text.
    plain: Vec<Vec<u32>>,
}

#[test]
fn real_files_give_the_ids_of_llama_cpp() {
    let Some(folder) = data::find("real_files_give_the_ids_of_llama_cpp", "models/real") else { return };
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    paths.sort();
    for path in paths {
        let ids_path = path.with_extension("ids.json");
        if !ids_path.exists() {
            println!("skipped: {} (no ids beside it)", path.display());
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        let file = Folder::from(folder.as_path()).open(name).unwrap().unwrap();
        let metadata = read_header(&file).unwrap().metadata;
        let started = Instant::now();
        let files = text_files(&metadata).unwrap();
        let made = started.elapsed();
        let tokenizer = Tokenizer::new(&files.tokenizer_json, Some(&files.tokenizer_config_json)).unwrap();
        let (bytes, read) = (files.tokenizer_json.len(), started.elapsed() - made);
        println!("{name}: {bytes} bytes of tokenizer.json in {made:?}, read in {read:?}");
        ChatTemplate::find(None, None, tokenizer.config()).unwrap();
        let Ids { texts, ids, plain } = golden::read(&ids_path);
        for ((text, ids), plain) in texts.iter().zip(ids).zip(plain) {
            let found = [tokenizer.encode(text, true).unwrap(), tokenizer.encode_plain(text, true).unwrap()];
            for (found, ids) in found.iter().zip([ids, plain]) {
                let first = found.iter().zip(&ids).position(|(a, b)| a != b);
                let around = first
                    .map(|at| tokenizer.decode(&ids[at.saturating_sub(5)..(at + 5).min(ids.len())], false));
                assert!(
                    *found == ids,
                    "{name}: {} and {} ids, first differ around {around:?}",
                    found.len(),
                    ids.len()
                );
            }
        }
    }
}
