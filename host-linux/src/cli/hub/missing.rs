//! Models that a command names and the cache does not have: on a terminal they are offered, without
//! one the error says what fetches them.
use super::ask::{agrees, has_terminal};
use super::bar::Bar;
use super::flags::{OfflineArgs, in_shell};
use super::pull::fetch;
use super::told::text;
use crate::cli::output;
use crate::hub::choose::has_weights;
use crate::hub::{Hub, PullPlan};
use crate::load::resolve::CacheLocations;
use crate::load::{LoadError, RepositoryName, resolve};
use crate::runtime::{Drafting, ModelSource, Options};
use crate::text::figures;
use std::path::{Path, PathBuf};

/// Makes sure that all models of these options are there, as far as they are named as those of the
/// hub.
pub(in crate::cli) fn fetch_missing(options: &Options, hub: OfflineArgs) -> Result<(), String> {
    let draft = match &options.drafting {
        Drafting::Model(source) => Some(source),
        _ => None,
    };
    for source in [Some(&options.model), draft].into_iter().flatten() {
        let ModelSource::Named(model) = source else { continue };
        let is_of_hub = |_: &RepositoryName| !Path::new(model).exists();
        let Some(name) = RepositoryName::parse(model).filter(is_of_hub) else { continue };
        match resolve(model, &CacheLocations::from_env()) {
            Ok(folder) if folder.is_dir() && !has_weights(&folder) => {
                offer(&name, hub, &format!("the cache has not all weights of {name}"), &[folder])?;
            }
            Ok(_) => {}
            Err(LoadError::NotFound { looked, .. }) => {
                offer(&name, hub, &format!("no model {name}"), &looked)?;
            }
            Err(error) => offer(&name, hub, &error.to_string(), &[])?,
        }
    }
    Ok(())
}

/// Asks whether to fetch a model, and fetches it. An error says `what` is the matter, what to do,
/// and where was looked.
fn offer(name: &RepositoryName, hub: OfflineArgs, what: &str, looked: &[PathBuf]) -> Result<(), String> {
    let command = format!("`verbatim pull {}`", in_shell(name));
    let paths: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    let looked = if paths.is_empty() { String::new() } else { format!(" (looked for {})", paths.join(", ")) };
    let settings = hub.settings().map_err(|error| error.to_string())?;
    if let Some(by) = &settings.offline {
        return Err(format!("{what}: {by} keeps this program from fetching it, as {command} does{looked}"));
    }
    if !has_terminal() {
        return Err(format!("{what}: {command} fetches it{looked}"));
    }
    output::note(format_args!("{what}{looked}"));
    let host = settings.host();
    let hub = Hub::new(settings).map_err(|error| text(&error))?;
    let plan = PullPlan::new(&hub, name, false, &Bar::hidden()).map_err(|error| text(&error))?;
    let size = figures::bytes(plan.missing_bytes);
    if !agrees(&format!("Fetch {name} from {host} ({size})?")) {
        return Err(format!("{name} was not fetched; {command} fetches it"));
    }
    fetch(&hub, &plan).map(drop).map_err(|error| text(&error))
}
