//! `verbatim serve`: the HTTP server, and what it says on standard error.
use super::announce::{Door, lines};
use super::args::ServeArgs;
use super::failure::{Blame, Failure};
use super::hub::missing::fetch_missing;
use super::inspect::residence;
use super::output;
use super::paint::Paint;
use super::ready::ReadyLine;
use super::session::{Session, notes};
use crate::runtime::{ModelSource, Options, ServedModel};
use crate::serve::api::limits::RequestBounds;
use crate::serve::lifecycle::Lifecycle;
use crate::serve::notice::Notice;
use crate::serve::observe::Observer;
use crate::serve::options::ServeOptions;
use crate::serve::transport::listen::Listeners;
use crate::serve::watch::log::Log;
use crate::serve::watch::options::LogFormat;
use crate::sys::cpu::model_name;
use crate::sys::heap::bound_arenas;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of the program waits for the last lines of the log.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// What the server is given at the start, before minutes of loading.
struct Given {
    lifecycle: Arc<Lifecycle>,
    ready: ReadyLine,
    options: Options,
    serving: ServeOptions,
    log: Arc<Log>,
}

/// Takes what the flags and whoever started the process give, all but the sockets: errors about it
/// should come at once.
fn take(args: &ServeArgs) -> Result<Given, Failure> {
    // First of all: the one becomes another, and of the other more are opened.
    let parent = args.starter.parent().map_err(|error| Blame::Flags.for_error(error))?;
    let ready = ReadyLine::open(args.starter.ready_fd()).map_err(|error| Blame::Flags.for_error(error))?;
    let lifecycle = Arc::new(Lifecycle::new().map_err(|error| error.to_string())?);
    lifecycle.catch_signals().map_err(|error| error.to_string())?;
    let follow = parent.map_or(Ok(()), |parent| lifecycle.stop_with(parent));
    follow.map_err(|error| format!("--exit-with-parent: {error}"))?;
    let named = || {
        let options = args.model.options()?;
        let mut serving = ServeOptions { watch: args.watch.options()?, ..ServeOptions::default() };
        let log = Arc::new(Log::open(&serving.watch).map_err(|error| format!("--log-file {error}"))?);
        log.install();
        serving.guard = args.guard.options(args.connections.host())?;
        serving.requests = args.limits.options();
        let (batches, told) = args.batches.open()?;
        serving.batches = batches;
        told.iter().for_each(|note| log.note(note));
        Ok((options, serving, log))
    };
    let (options, serving, log) = named().map_err(|error: String| Blame::Flags.for_error(error))?;
    Ok(Given { lifecycle, ready, options, serving, log })
}

/// Opens the model and serves it until a signal asks the process to stop.
pub(super) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    bound_arenas();
    let Given { lifecycle, ready, options, mut serving, log } = take(args)?;
    let there = fetch_missing(&options, args.model.hub());
    there.map_err(|error| Blame::Model.for_error(error))?;
    let listeners = args.connections.listen().map_err(|error| Blame::Address.for_error(error))?;
    let tell = |model: &ServedModel| notes(model).for_each(|note| log.note(&note));
    let session = Session::open(&options, args.supervision.supervision(), tell);
    let session = session.map_err(|error| Blame::Model.for_error(error))?;
    crate::faults::arm_from_env()?;
    serving.connections = args.connections.limits(&session.model);
    log.serves(&session.model.fingerprint);
    tell_settings(&log, &serving, &session.model);
    // Before a person reads how to try it, the log has said what it has to say.
    log.flush(LOG_PATIENCE);
    announce(&session.model, options.model == ModelSource::BuiltIn, &listeners, &serving);
    ready.tell(&session.model, &listeners)?;
    let reopened = Arc::clone(&log);
    lifecycle.on_hangup(move || reopened.reopen());
    let (model, engine) = (Arc::clone(&session.model), session.engine.clone());
    let served = crate::serve::serve(&listeners, model, engine, log.clone(), serving, lifecycle);
    log.flush(LOG_PATIENCE);
    served.map_err(|error| Failure::from(error.to_string()))
}

/// Tells programs all settings, and people those that matter first and where the others stand.
fn tell_settings(log: &Log, serving: &ServeOptions, model: &ServedModel) {
    let is_for_programs = serving.watch.log == LogFormat::Json;
    let bounds = RequestBounds::new(&serving.requests, model);
    let settings = serving.settings(&bounds).into_iter();
    for setting in settings.filter(|setting| is_for_programs || setting.is_told) {
        log.notice(&Notice::Setting(setting));
    }
    if !is_for_programs {
        tracing::info!(
            "all limits: verbatim:budget_limit of /metrics, or --log json; verbatim serve --help has their flags"
        );
    }
}

/// Says what is served, where, and a command to try it: to people on standard error, to programs in
/// the log, and where both are one, to those that the log is for.
fn announce(model: &ServedModel, is_built_in: bool, listeners: &Listeners, serving: &ServeOptions) {
    let watch = &serving.watch;
    if watch.log == LogFormat::Json || watch.log_file.is_some() {
        tracing::info!(
            model = model.name,
            fingerprint = model.fingerprint,
            weights = residence(model).to_string(),
            cpu = model_name(),
            isa = model.isa.name(),
            workers = model.workers.workers,
            "listening on {}",
            listeners.urls().join(", ")
        );
    }
    if watch.log == LogFormat::Json && watch.log_file.is_none() {
        return;
    }
    let door = Door { urls: listeners.urls(), has_keys: serving.guard.has_keys() };
    for line in lines(model, is_built_in, &door, Paint::stderr()) {
        output::note(line);
    }
}
