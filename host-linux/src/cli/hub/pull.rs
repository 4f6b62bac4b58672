//! `verbatim pull`: a model from the hub into the cache.
use super::bar::Bar;
use super::flags::{PullArgs, in_shell};
use super::told::failure;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::hub::{Hub, HubError, PullPlan};
use crate::sys::signals::end_at_interrupt;
use crate::text::figures;
use std::path::PathBuf;

/// Fetches a model, and prints the folder that holds it.
pub(in crate::cli) fn pull(args: &PullArgs) -> Result<(), Failure> {
    let told =
        end_at_interrupt(|| output::note("\nstopped; what has come is kept, and the same command goes on"));
    told.map_err(|error| format!("SIGINT: cannot be caught: {error}"))?;
    let fetched = (|| {
        let mut settings = args.hub.settings()?;
        settings.transfer.connections = args.connections;
        let hub = Hub::new(settings)?;
        let plan = PullPlan::new(&hub, &args.name, args.force, &Bar::hidden())?;
        Ok((fetch(&hub, &plan)?, plan.served_as))
    })();
    let (folder, served_as) = fetched.map_err(|error| failure(&error))?;
    output::line(folder.display())?;
    output::note(format_args!("`verbatim --model {}` serves it", in_shell(&served_as)));
    Ok(())
}

/// Fetches what a plan does not have yet, and shows how that goes.
pub(super) fn fetch(hub: &Hub, plan: &PullPlan) -> Result<PathBuf, HubError> {
    let (count, (missing, total)) = (plan.files.len(), plan.missing(hub));
    let commit = plan.commit.get(..12).unwrap_or(&plan.commit);
    let to_come = match missing {
        0 => "all there".to_owned(),
        _ => format!("{} in {missing} of them to come", figures::bytes(plan.missing_bytes)),
    };
    output::note(format_args!(
        "{} at {commit}: {count} files, {}, {to_come}",
        plan.name.id(),
        figures::bytes(plan.bytes())
    ));
    let bar = Bar::of(plan, total);
    let fetched = plan.fetch(hub, &bar);
    bar.finish();
    fetched
}
