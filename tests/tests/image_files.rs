//! A packed file as it is used: one file, served by several processes at once, with the answers of
//! the checkpoint.
use serde_json::json;
use std::path::Path;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::{Running, command, output};

/// Runs the program, which succeeds, and gives its standard output.
fn said(args: &[&str]) -> String {
    let output = output(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn field<'s>(text: &'s str, name: &str) -> &'s str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}")).trim()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn two_processes_serve_one_file_as_the_checkpoint() {
    let directory = Files::tiny().directory("shared-image");
    let (model, path) = (text(directory.path()), directory.path().join("tiny.vb"));
    let image = text(&path);
    let packed = said(&["pack", model, "-o", image, "--threads", "1"]);

    let of_checkpoint = said(&["inspect", "--threads", "1", "--model", model]);
    let mapped = said(&["inspect", "--threads", "1", "--model", image]);
    let copied = said(&["inspect", "--threads", "1", "--model", image, "--copy", "--verify"]);
    let fingerprint = field(&of_checkpoint, "fingerprint");
    for text in [&mapped, &copied] {
        assert_eq!(field(text, "fingerprint"), fingerprint);
    }
    assert!(packed.contains(fingerprint) && packed.starts_with(image), "{packed}");
    assert!(field(&mapped, "weights").ends_with("mapped from the file"));
    for text in [&copied, &of_checkpoint] {
        assert!(field(text, "weights").ends_with("in memory of their own"));
    }

    let body = json!({"prompt": "Once", "max_tokens": 12, "temperature": 0.8, "seed": 5, "logprobs": 2});
    let answers: Vec<_> = {
        let start = |model: &str, more: &[&str]| {
            Running::start(
                &[&["--threads", "1", "--served-model-name", "tiny", "--model", model], more].concat(),
            )
        };
        let servers =
            [start(model, &[]), start(image, &[]), start(image, &["--verify"]), start(image, &["--copy"])];
        // The mapped file, by two processes in turns.
        let both = servers.iter().chain(&servers[1..3]);
        both.map(|server| server.post("/v1/completions", &body)).collect()
    };
    for (status, answer) in &answers {
        assert_eq!(*status, 200, "{answer}");
        for part in ["choices", "system_fingerprint", "usage"] {
            assert_eq!(answer[part], answers[0].1[part]);
        }
    }
    // Replaced while it is served, it is served as it was: a name stands for another file from then
    // on.
    let server = Running::start(&["--threads", "1", "--served-model-name", "tiny", "--model", image]);
    said(&["pack", "--model", model, "--weights", "bf16", "-o", image, "--threads", "1"]);
    assert_eq!(server.post("/v1/completions", &body).1["choices"], answers[0].1["choices"]);
    assert_ne!(field(&said(&["inspect", "--threads", "1", "--model", image]), "fingerprint"), fingerprint);
    let left = std::fs::read_dir(directory.path()).expect("readable");
    assert!(left.flatten().all(|entry| !text(&entry.path()).ends_with(".partial")));
}

#[test]
fn a_model_to_pack_is_named_by_place_flag_or_environment() {
    let directory = Files::tiny().directory("named");
    let model = text(directory.path());
    let mut sizes = Vec::new();
    for (name, args, variable) in [
        ("a", &[model][..], ""),
        ("b", &["--model", model], ""),
        ("c", &[], model),
        // What the environment serves is not what is asked for.
        ("d", &[model], "/no/such/model"),
    ] {
        let output = directory.path().join(name);
        let mut pack = command();
        pack.args(["pack", "--threads", "1", "-o"]).arg(&output).args(args);
        if !variable.is_empty() {
            pack.env("VERBATIM_MODEL", variable);
        }
        let done = pack.output().expect("it starts");
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        sizes.push(std::fs::read(output).expect("written"));
    }
    assert!(sizes.iter().all(|image| *image == sizes[0]));
}
