//! The seeds of the fuzz targets pass, so the ordinary tests run what fuzzing checks.
use verbatim_tests::fuzz;
use verbatim_tests::mutants::root;

/// Runs the seeds of a target, and each of them cut at every place.
fn run(target: &str, check: fn(&[u8])) {
    let folder = root().join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("seeds").flatten() {
        let bytes = std::fs::read(entry.path()).expect("a seed");
        println!("{target} {}", entry.file_name().to_string_lossy());
        for end in 0..=bytes.len() {
            check(&bytes[..end]);
        }
        count += 1;
    }
    assert!(count >= 8, "{target} has {count} seeds");
}

#[test]
fn bodies_of_json_are_read() {
    run("json_request", fuzz::json_request);
}

#[test]
fn heads_are_read() {
    run("head", fuzz::head);
}

#[test]
fn bodies_are_framed() {
    run("body", fuzz::body);
}

#[test]
fn answers_of_models_are_read() {
    run("parts", fuzz::parts);
}

#[test]
fn gguf_files_are_read() {
    run("gguf", fuzz::gguf);
}

#[test]
fn each_target_is_run() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
    let names: Vec<_> =
        manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert_eq!(names, ["verbatim-fuzz", "head", "body", "json_request", "parts", "gguf"]);
    for target in &names[1..] {
        assert!(root().join(format!("fuzz/targets/{target}.rs")).is_file(), "{target}");
    }
}
