//! Every planted bug of `tests/mutants` still has its place in the tree. `verbatim-sim --mutants`
//! builds them and must find each.
use verbatim_tests::mutants::{patches, plant, root, rust_sources};

/// Bugs that there must be at least: nobody gets rid of one by removing its patch.
const COUNT: usize = 24;

#[test]
fn every_patch_applies_once_and_all_apply_together() {
    let tree = rust_sources(&root()).unwrap();
    for patch in patches().unwrap() {
        patch.apply(&mut tree.clone()).unwrap();
    }
    let mut planted = tree;
    plant(&mut planted).unwrap();
    let switch = &planted["core/src/mutants.rs"];
    for (path, text) in &planted {
        for name in text.split("mutant!(").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_listed = switch.contains(&format!("    {name} = "));
            assert!(path.starts_with("tests/") || is_listed, "{path} asks for {name}, which is no patch");
        }
    }
}

#[test]
fn every_bug_stands_in_the_proof_obligations() {
    let patches = patches().unwrap();
    assert!(patches.len() >= COUNT, "{} patches", patches.len());
    let contract = std::fs::read_to_string(root().join("docs/contract.md")).unwrap();
    for patch in patches {
        assert!(
            contract.contains(&format!("`{}`", patch.name)),
            "docs/contract.md does not name {}",
            patch.name
        );
    }
}

#[test]
fn the_product_has_no_trace_of_them() {
    for (path, text) in rust_sources(&root()).unwrap() {
        let is_product = path.starts_with("core/") || path.starts_with("host-linux/");
        assert!(!is_product || !text.contains("mutant"), "{path} speaks of mutants");
    }
}
