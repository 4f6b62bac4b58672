//! `verbatim rm`: a model out of the cache.
use super::ask::{agrees, has_terminal};
use super::flags::RmArgs;
use super::list::cache;
use super::told::failure;
use crate::cli::failure::{Blame, Failure};
use crate::cli::output;
use crate::hub::RemovalPlan;
use crate::text::figures;

/// Deletes a model, once somebody has agreed to it.
pub(in crate::cli) fn rm(args: &RmArgs) -> Result<(), Failure> {
    let plan = RemovalPlan::new(&cache()?, &args.name).map_err(|error| failure(&error))?;
    let bytes = figures::bytes(plan.bytes);
    if !args.yes {
        if !has_terminal() {
            return Err(Blame::Flags.for_error("rm: found no terminal to ask on, expected --yes"));
        }
        if !agrees(&format!("Delete {} ({bytes})?", args.name)) {
            output::note("nothing was deleted");
            return Ok(());
        }
    }
    let freed = plan.remove().map_err(|error| failure(&error))?;
    output::note(format_args!("deleted {}: {} are free again", args.name, figures::bytes(freed)));
    Ok(())
}
