//! The commands that documents show are the program's (a test).
use super::args::Arguments;
use clap::CommandFactory;
use clap::error::ErrorKind;
use verbatim_tests::pages::Page;

#[test]
fn documents_name_commands_and_flags_that_are_there() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in Page::all() {
        for (line, words) in page.commands() {
            count += 1;
            let words = std::iter::once("verbatim").chain(words.iter().map(String::as_str));
            // What stands for a value, such as N, need not be one.
            let error = Arguments::command().try_get_matches_from(words).err();
            let is_unknown = |error: &clap::Error| {
                matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand)
            };
            if let Some(error) = error.filter(is_unknown) {
                let text = error.to_string();
                wrong.push(format!("{}:{line}: {}", page.path, text.lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(count > 30, "{count} commands were read");
    assert!(wrong.is_empty(), "commands that are not the program's:\n  {}", wrong.join("\n  "));
}
