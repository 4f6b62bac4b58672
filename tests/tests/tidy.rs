//! The tree stays as CONTRIBUTING.md asks: module docs, the order of imports, widths, where
//! `unsafe` and words of the command line may stand, how long functions get, and no circles of
//! files.
//!
//! `cargo test -p verbatim-tests --test tidy -- --nocapture numbers` prints the numbers. With
//! `TIDY_ROOT` it reads another copy of the repository, to compare.
use std::collections::BTreeSet;
use std::path::PathBuf;
use verbatim_tests::mutants::{root, rust_sources};
use verbatim_tests::source::{Crate, Source};

/// Columns of a line with a comment.
const COMMENT_COLUMNS: usize = 100;
/// Lines of a function of the engine.
const ENGINE_FUNCTION_LINES: usize = 70;
/// Parameters of a function, tuples counted by their parts.
const PARAMETERS: usize = 7;
/// Functions that have more parameters than [`PARAMETERS`].
const WIDE_FUNCTIONS: usize = 10;

/// Where `unsafe` may stand: these files, and all files below these folders.
const UNSAFE_PLACES: &[&str] = &[
    "core/src/cache/planes.rs",
    "core/src/isa/",
    "core/src/kernels/",
    "core/src/memory.rs",
    "core/src/model/ops.rs",
    "core/src/model/operands.rs",
    "core/src/pool.rs",
    "core/src/tensor.rs",
    "host-linux/src/sys/",
];

/// Files of the core that hold `unsafe` today; a new one is a decision, to be made here.
const UNSAFE_TODAY: &[&str] = &[
    "core/src/cache/planes.rs",
    "core/src/isa/amx.rs",
    "core/src/isa/avx2.rs",
    "core/src/isa/avx512.rs",
    "core/src/isa/dequantized.rs",
    "core/src/isa/dot.rs",
    "core/src/isa/mod.rs",
    "core/src/isa/neon.rs",
    "core/src/isa/portable.rs",
    "core/src/isa/simd.rs",
    "core/src/isa/slices.rs",
    "core/src/isa/x86_detect.rs",
    "core/src/kernels/attention/float.rs",
    "core/src/kernels/attention/int8.rs",
    "core/src/kernels/attention/mod.rs",
    "core/src/kernels/attention/online.rs",
    "core/src/kernels/cache_write.rs",
    "core/src/kernels/matmul/dequantized.rs",
    "core/src/kernels/matmul/epilogue.rs",
    "core/src/kernels/matmul/micro.rs",
    "core/src/kernels/matmul/product.rs",
    "core/src/memory.rs",
    "core/src/model/operands.rs",
    "core/src/model/ops.rs",
    "core/src/pool.rs",
    "core/src/tensor.rs",
];

/// The root of the repository that is read.
fn tree_root() -> PathBuf {
    std::env::var_os("TIDY_ROOT").map_or_else(root, PathBuf::from)
}

/// The sources of the repository.
fn tree() -> Vec<Source> {
    let tree = rust_sources(&tree_root()).expect("the repository can be read");
    Source::all(&tree)
}

/// The sources of one crate's product, and their modules.
fn of_crate<'a>(tree: &'a [Source], root: &str) -> (Vec<&'a Source>, Crate) {
    let files: Vec<&Source> =
        tree.iter().filter(|source| source.path.starts_with(root) && !source.is_test).collect();
    let modules = Crate::new(root, &files);
    (files, modules)
}

/// Fails with one line for each wrong place where there are more than `bound`.
fn at_most(bound: usize, rule: &str, wrong: Vec<String>) {
    let (count, list) = (wrong.len(), wrong.join("\n  "));
    assert!(count <= bound, "{rule}: {count}, {bound} are allowed:\n  {list}");
}

/// The first line of each `///` doc, and the words of the doc.
fn docs(source: &Source) -> Vec<(usize, usize)> {
    let mut docs: Vec<(usize, usize)> = Vec::new();
    let mut is_open = false;
    for (i, line) in source.text.lines().enumerate() {
        let text = line.trim_start().strip_prefix("///");
        match (text, docs.last_mut()) {
            (Some(text), Some((_, words))) if is_open => *words += text.split_whitespace().count(),
            (Some(text), _) => docs.push((i + 1, text.split_whitespace().count())),
            (None, _) => {}
        }
        is_open = text.is_some();
    }
    docs
}

fn short_docs(tree: &[Source]) -> Vec<String> {
    let of = |source: &Source| {
        let short = docs(source).into_iter().filter(|(_, words)| *words <= 3);
        short.map(|(line, _)| format!("{}:{line}", source.path)).collect::<Vec<_>>()
    };
    tree.iter().flat_map(of).collect()
}

fn wide_comments(tree: &[Source]) -> Vec<String> {
    let is_wide = |line: &str| line.trim_start().starts_with("//") && line.chars().count() > COMMENT_COLUMNS;
    let of = |source: &Source| {
        let wide = source.text.lines().enumerate().filter(|(_, line)| is_wide(line));
        wide.map(|(i, _)| format!("{}:{}", source.path, i + 1)).collect::<Vec<_>>()
    };
    tree.iter().flat_map(of).collect()
}

fn wide_functions(tree: &[Source]) -> Vec<String> {
    let of = |source: &Source| {
        let wide = source.functions().into_iter().filter(|function| function.parameters > PARAMETERS);
        wide.map(|f| format!("{}:{} {} ({})", source.path, f.line, f.name, f.parameters)).collect::<Vec<_>>()
    };
    tree.iter().filter(|source| !source.is_test).flat_map(of).collect()
}

fn long_functions(tree: &[Source], root: &str, max: usize) -> Vec<String> {
    let of = |source: &Source| {
        let long = source.functions().into_iter().filter(|function| function.lines > max);
        long.map(|f| format!("{}:{} {} ({} lines)", source.path, f.line, f.name, f.lines)).collect::<Vec<_>>()
    };
    let files = tree.iter().filter(|source| source.path.starts_with(root) && !source.is_test);
    files.flat_map(of).collect()
}

fn circles(tree: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["core/src/", "host-linux/src/", "host-bench/src/", "tests/src/"] {
        let (files, modules) = of_crate(tree, root);
        for circle in modules.circles() {
            found.push(circle.iter().map(|file| files[*file].path.as_str()).collect::<Vec<_>>().join(" "));
        }
    }
    found
}

fn holds_unsafe(source: &Source) -> bool {
    let words = source.product.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.into_iter().any(|word| word == "unsafe")
}

fn unsafe_files<'a>(tree: &'a [Source], root: &str) -> Vec<&'a str> {
    let files = tree.iter().filter(|source| source.path.starts_with(root) && !source.is_test);
    files.filter(|source| holds_unsafe(source)).map(|source| source.path.as_str()).collect()
}

#[test]
fn numbers() {
    let tree = tree();
    let mut lines: Vec<usize> = tree.iter().map(|source| source.text.lines().count()).collect();
    lines.sort_unstable();
    let docs: usize = tree.iter().map(|source| docs(source).len()).sum();
    let core = tree.iter().filter(|source| source.path.starts_with("core/src/") && !source.is_test).count();
    println!("files                                   {}", tree.len());
    println!("lines of a file, median                 {}", lines[lines.len() / 2]);
    println!("lines of a file, max                    {}", lines[lines.len() - 1]);
    println!("docs of three words or fewer            {} of {docs}", short_docs(&tree).len());
    println!("comment lines beyond {COMMENT_COLUMNS} columns        {}", wide_comments(&tree).len());
    println!("files of core that hold unsafe          {} of {core}", unsafe_files(&tree, "core/src/").len());
    println!("files of host-linux that hold unsafe    {}", unsafe_files(&tree, "host-linux/src/").len());
    println!("functions with more than {PARAMETERS} parameters   {}", wide_functions(&tree).len());
    let long = long_functions(&tree, "core/src/engine/", ENGINE_FUNCTION_LINES).len();
    println!("functions of engine beyond {ENGINE_FUNCTION_LINES} lines     {long}");
    let circles = circles(&tree);
    println!("circles of files                        {}", circles.len());
    for circle in circles {
        println!("  {circle}");
    }
}

#[test]
fn every_file_begins_with_its_subject() {
    let has_doc = |source: &Source| source.text.lines().next().is_some_and(|line| line.starts_with("//!"));
    let wrong = tree().iter().filter(|source| !has_doc(source)).map(|source| source.path.clone()).collect();
    at_most(0, "the first line of a file is its module doc (//!)", wrong);
}

#[test]
fn the_core_imports_from_above_in_its_list() {
    let tree = tree();
    let (files, modules) = of_crate(&tree, "core/src/");
    let root = files.iter().find(|source| source.path == "core/src/lib.rs").expect("the core has a root");
    let entry = |line: &str| Some(line.strip_prefix("//! * [`")?.split('`').next()?.to_owned());
    let order: Vec<String> = root.text.lines().filter_map(entry).collect();
    assert!(order.len() > 8, "core/src/lib.rs lists its modules: {order:?}");
    let place = |module: &str| order.iter().position(|listed| listed == module);
    let mut wrong = Vec::new();
    for (i, file) in files.iter().enumerate().filter(|(_, file)| file.path != "core/src/lib.rs") {
        let own = place(modules.top(i));
        for top in modules.tops(i).into_iter().filter(|top| top != modules.top(i)) {
            if own.is_none() || place(&top) >= own {
                wrong.push(format!("{} imports from {top}", file.path));
            }
        }
    }
    at_most(0, "modules of the core import from those above them in the list of core/src/lib.rs", wrong);
}

#[test]
fn no_files_import_from_each_other() {
    at_most(0, "files take names from each other in a circle", circles(&tree()));
}

#[test]
fn comments_are_no_wider_than_100_columns() {
    at_most(0, "comment lines are too wide", wide_comments(&tree()));
}

#[test]
fn docs_say_more_than_a_name() {
    at_most(0, "docs of three words or fewer", short_docs(&tree()));
}

#[test]
fn functions_have_few_parameters() {
    at_most(WIDE_FUNCTIONS, "functions of more than 7 parameters", wide_functions(&tree()));
}

#[test]
fn no_function_of_the_engine_is_long() {
    let long = long_functions(&tree(), "core/src/engine/", ENGINE_FUNCTION_LINES);
    at_most(0, "functions of the engine are too long", long);
}

#[test]
fn unsafe_stands_where_it_may() {
    let tree = tree();
    let core = unsafe_files(&tree, "core/src/");
    let all: Vec<_> = core.iter().copied().chain(unsafe_files(&tree, "host-linux/src/")).collect();
    let may = |path: &str| UNSAFE_PLACES.iter().any(|place| path.starts_with(place));
    at_most(
        0,
        "unsafe code elsewhere",
        all.iter().filter(|path| !may(path)).map(|path| (*path).to_owned()).collect(),
    );
    let now: BTreeSet<&str> = core.iter().copied().collect();
    let listed: BTreeSet<&str> = UNSAFE_TODAY.iter().copied().collect();
    let new: Vec<_> = now.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&now).collect();
    assert!(new.is_empty() && gone.is_empty(), "UNSAFE_TODAY: new {new:?}, gone {gone:?}");
}

/// Whether a line has a double hyphen before a letter and behind no word.
fn names_a_flag(line: &str) -> bool {
    let at = |(at, _)| {
        let before = line[..at].bytes().next_back();
        let after = line.as_bytes().get(at + 2);
        before.is_none_or(|byte| byte != b'-' && !byte.is_ascii_alphanumeric())
            && after.is_some_and(u8::is_ascii_lowercase)
    };
    line.match_indices("--").any(at)
}

#[test]
fn only_the_command_line_prints_and_knows_flags() {
    assert!(names_a_flag("say --max-seqs 3") && !names_a_flag("a--- b -- c --> d--e"));
    let tree = tree();
    let is_cli = |path: &str| path.starts_with("host-linux/src/cli/") || path == "host-linux/src/main.rs";
    let library = tree.iter().filter(|source| {
        source.path.starts_with("host-linux/src/") && !source.is_test && !is_cli(&source.path)
    });
    let (mut read_count, mut wrong) = (0, Vec::new());
    for source in library {
        read_count += 1;
        for (i, (line, code)) in source.text.lines().zip(source.product.lines()).enumerate() {
            let prints = ["println!", "print!(", "dbg!("].iter().any(|call| code.contains(call));
            if prints || names_a_flag(line) {
                wrong.push(format!("{}:{}", source.path, i + 1));
            }
        }
    }
    assert!(read_count > 30, "{read_count} files were read");
    at_most(0, "code outside of cli prints or names a flag", wrong);
}

/// What stands between backticks in a Markdown text.
fn quoted(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with("    ") && !line.starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The pages whose file names must be right, from the root: those at the root and all of `docs`.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(tree_root().join("docs")).expect("there are docs");
    let names = docs.flatten().map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()));
    let root =
        ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"].map(str::to_owned);
    root.into_iter().chain(names.filter(|name| name.ends_with(".md"))).collect()
}

#[test]
fn docs_name_files_that_are_there() {
    let root = tree_root();
    let tree = tree();
    let is_path = |word: &str| {
        let has_folder = word.contains('/') && !word.starts_with('/');
        (has_folder || word.ends_with(".rs"))
            && word.chars().all(|c| c.is_alphanumeric() || "/_-.".contains(c))
    };
    // A path may leave out the folders that its paragraph has named.
    let is_there = |word: &str| {
        let (file, folder) = (format!("/{word}"), format!("/{}/", word.trim_end_matches('/')));
        let is_source = |source: &Source| source.path.ends_with(&file) || source.path.contains(&folder);
        root.join(word).exists() || tree.iter().any(is_source)
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(root.join(&page)).expect("the page can be read");
        // `NAME` stands for what is to be added.
        for word in quoted(&text).into_iter().filter(|word| is_path(word) && !word.contains("NAME")) {
            count += 1;
            if !is_there(word) {
                wrong.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(count > 100, "{count} names were read");
    at_most(0, "docs name files that are not there", wrong);
}
