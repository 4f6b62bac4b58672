//! `verbatim man`: the manual pages, from the help texts.
use super::args::ManArgs;
use super::help;
use clap::Command;
use std::fs;
use std::path::Path;

/// Writes a page of the program and one of each command.
pub(super) fn man(args: &ManArgs) -> Result<(), String> {
    write(&args.folder).map_err(|error| format!("{}: {error}", args.folder.display()))
}

fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(short_usage(help::command()), folder)
}

/// A command whose synopsis does not repeat dozens of flags, which have their own part of a page.
fn short_usage(command: Command) -> Command {
    let positional =
        command.get_positionals().map(|arg| format!(" [{}]", arg.get_id().as_str().to_uppercase()));
    let usage = format!("verbatim {} [OPTIONS]{}", command.get_name(), positional.collect::<String>());
    let is_long = command.get_arguments().filter(|arg| !arg.is_hide_set()).count() > 10;
    let command = command.mut_subcommands(short_usage);
    if is_long { command.override_usage(usage) } else { command }
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
        assert!(serve.contains("verbatim serve [OPTIONS]") || serve.contains("[OPTIONS]"), "{serve}");
        assert!(serve.contains("max\\-seqs") && serve.contains("Sequences that run at once"), "{serve}");
        let names = help::command().get_subcommands().count();
        assert!(fs::read_dir(&folder).expect("it is there").count() > names);
        // Written anew over what is there.
        write(&folder).expect("pages are replaced");
    }
}
