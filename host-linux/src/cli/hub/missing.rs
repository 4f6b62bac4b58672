//! Models that a command names and the cache does not have: on a terminal they are offered, without
//! one the error says what fetches them.
use super::ask::{agrees, has_terminal};
use super::bar::Bar;
use super::flags::{OfflineArgs, in_shell};
use super::pull::fetch;
use super::told::text;
use crate::hub::{Hub, PullPlan, bytes_text};
use crate::load::resolve::CacheLocations;
use crate::load::{LoadError, RepositoryName, resolve};
use crate::runtime::{Drafting, ModelSource, Options};

/// Makes sure that all models of these options are there, as far as they are named as those of the
/// hub.
pub(in crate::cli) fn fetch_missing(options: &Options, hub: OfflineArgs) -> Result<(), String> {
    let draft = match &options.drafting {
        Drafting::Model(source) => Some(source),
        _ => None,
    };
    for source in [Some(&options.model), draft].into_iter().flatten() {
        if let ModelSource::Named(model) = source
            && let Err(error) = resolve(model, &CacheLocations::from_env())
            && let Some(name) = RepositoryName::parse(model)
        {
            offer(&name, hub, &error)?;
        }
    }
    Ok(())
}

/// Asks whether to fetch a model, and fetches it. An error says that it is not there, and what to
/// do.
fn offer(name: &RepositoryName, hub: OfflineArgs, error: &LoadError) -> Result<(), String> {
    let command = format!("`verbatim pull {}`", in_shell(name));
    let (what, looked) = match error {
        LoadError::NotFound { looked, .. } => {
            let last = looked.last().map(|path| format!(" (found no {})", path.display()));
            (format!("no model {name}"), last.unwrap_or_default())
        }
        other => (other.to_string(), String::new()),
    };
    let settings = hub.settings().map_err(|error| error.to_string())?;
    if let Some(by) = &settings.offline {
        return Err(format!("{what}: {by} keeps this program from fetching it, as {command} does{looked}"));
    }
    if !has_terminal() {
        return Err(format!("{what}: {command} fetches it{looked}"));
    }
    eprintln!("{what}{looked}");
    let host = settings.host();
    let hub = Hub::new(settings).map_err(|error| text(&error))?;
    let plan = PullPlan::new(&hub, name, false, &Bar::new(0)).map_err(|error| text(&error))?;
    let size = bytes_text(plan.missing_bytes);
    if !agrees(&format!("Fetch {name} from {host} ({size})?")) {
        return Err(format!("{name} was not fetched; {command} fetches it"));
    }
    fetch(&hub, &plan).map(drop).map_err(|error| text(&error))
}
