//! `verbatim man`: the manual pages, from the help texts.
use super::args::ManArgs;
use super::help;
use clap::Command;
use clap_mangen::Man;
use std::fs;
use std::io;
use std::path::Path;

/// Writes a page of the program and one of each command.
pub(super) fn man(args: &ManArgs) -> Result<(), String> {
    write(&args.folder).map_err(|error| format!("{}: {error}", args.folder.display()))
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut root = short_usage(help::command().disable_help_subcommand(true));
    // This gives each command its full name.
    root.build();
    for command in root.get_subcommands().chain([&root]) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        fs::write(folder.join(format!("{name}.1")), page(command, name)?)?;
    }
    Ok(())
}

/// A command whose synopsis does not repeat dozens of flags, which have their own part of a page.
fn short_usage(command: Command) -> Command {
    let positional = command.get_positionals().map(|arg| {
        let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let name = name.unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
        if arg.is_required_set() { format!(" <{name}>") } else { format!(" [{name}]") }
    });
    let usage = format!("verbatim {} [OPTIONS]{}", command.get_name(), positional.collect::<String>());
    let is_long = command.get_arguments().filter(|arg| !arg.is_hide_set()).count() > 10;
    let command = command.mut_subcommands(short_usage);
    if is_long { command.override_usage(usage) } else { command }
}

/// The page of a command in roff.
fn page(command: &Command, name: &str) -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // The page's date is left empty, as nothing here knows it. It must be there all the same, or
    // what comes behind it is taken for it.
    let title = format!(".TH {name} 1 \"\" \"verbatim {}\"\n", env!("CARGO_PKG_VERSION"));
    let mut whole = String::new();
    let mut as_typed = false;
    for line in page.lines() {
        if line.starts_with(".TH ") {
            whole.push_str(&title);
            continue;
        }
        // Examples stand in columns, one a line, so they are not filled as sentences are.
        let is_example = line.starts_with("  ");
        if is_example != as_typed {
            whole.push_str(if is_example { ".nf\n" } else { ".fi\n" });
            as_typed = is_example;
        }
        whole.push_str(line);
        whole.push('\n');
    }
    whole.push_str(if as_typed { ".fi\n" } else { "" });
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn every_command_has_a_page() {
        let directory = TemporaryDirectory::new("man");
        let folder = directory.path().join("man1");
        write(&folder).expect("pages are written");
        let page = |name: &str| fs::read_to_string(folder.join(name)).expect("a page");
        assert!(page("verbatim.1").contains("verbatim\\-serve(1)"));
        let serve = page("verbatim-serve.1");
        assert!(serve.contains("verbatim serve\\fR [OPTIONS]\n"), "{serve}");
        assert!(serve.contains("max\\-seqs") && serve.contains("Sequences that run at once"), "{serve}");
        assert!(page("verbatim-batch.1").contains("verbatim batch\\fR [OPTIONS] <IN>\n"));
        assert!(page("verbatim-generate.1").contains("verbatim generate\\fR [OPTIONS] [PROMPT]\n"));
        let names = help::command().get_subcommands().count();
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), names + 1);
        // Written anew over what is there.
        write(&folder).expect("pages are replaced");
    }

    #[test]
    fn examples_stand_as_they_are_typed_and_the_foot_names_the_version() {
        let root = help::command();
        let text = page(&root, "verbatim").expect("text");
        let version = format!(".TH verbatim 1 \"\" \"verbatim {}\"\n", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
        let (_, examples) = text.split_once("Examples:\n.nf\n").expect("examples that are not filled");
        let (examples, _) = examples.split_once("\n.fi\n").expect("an end of them");
        assert!(examples.lines().count() > 5, "{text}");
        assert!(examples.lines().all(|line| line.starts_with("  ")), "{text}");
        assert_eq!((text.matches("\n.nf\n").count(), text.matches("\n.fi\n").count()), (1, 1), "{text}");
    }
}
