//! The README's example is the file that the tests compile and run.

#[test]
fn the_host_in_the_readme_is_the_example() {
    let readme = include_str!("../../README.md");
    let example = include_str!("../../core/examples/embed.rs");
    assert!(
        readme.contains(&format!("```rust\n{example}```")),
        "README.md shows another core/examples/embed.rs"
    );
}
