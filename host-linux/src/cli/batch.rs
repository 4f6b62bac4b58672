//! `verbatim batch`: a file of requests, answered by a model in this process.
use super::args::BatchArgs;
use super::hub::missing::fetch_missing;
use super::output;
use super::session::{Session, tell_notes};
use crate::batch::answerer::BatchSender;
use crate::batch::entry::Entry;
use crate::batch::input::Input;
use crate::batch::journal::Journal;
use crate::batch::lines;
use crate::batch::resume::{Resumed, resume};
use crate::batch::run::{RunError, Sink, Wanted, run};
use crate::batch::slots::Slots;
use crate::runtime::Supervision;
use crate::serve::api::lines::LineAnswers;
use crate::serve::guards::options::GuardOptions;
use crate::serve::guards::state::Guards;
use crate::serve::lifecycle::Lifecycle;
use crate::serve::notice::Notice;
use crate::serve::observe::{Observer, Record};
use crate::serve::options::ServeOptions;
use crate::serve::server::Server;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::{Display, Write};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a line, at most.
const LINE_BYTES: usize = 16 << 20;
/// Lines in flight beside those that run, so that the engine never waits for the next one.
const READY_LINES: usize = 4;

/// There are no requests that anybody would have to be told of.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn request_ended(&self, _: &Record) {}

    fn notice(&self, _: &Notice) {}
}

/// A server that listens nowhere: lines are answered by what it has.
fn server(session: &Session, args: &BatchArgs) -> Result<Arc<Server>, String> {
    let options = ServeOptions { requests: args.limits.options(), ..ServeOptions::default() };
    let (guards, _) = Guards::open(&GuardOptions::default(), &[])?;
    let lifecycle = Arc::new(Lifecycle::new().map_err(|error| error.to_string())?);
    let (model, engine) = (Arc::clone(&session.model), session.engine.clone());
    Ok(Arc::new(Server::new(model, engine, Arc::new(Nobody), guards, options, lifecycle)))
}

/// An error of a file.
fn at(path: &Path) -> impl Fn(&dyn Display) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// The output, and how far it is.
struct Output<'o> {
    journal: &'o mut Journal,
    bar: ProgressBar,
    failed: usize,
}

impl Sink for Output<'_> {
    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        self.journal.append(entry)?;
        self.failed += usize::from(entry.is_error);
        self.bar.inc(1);
        Ok(())
    }

    fn wants(&mut self, _: bool) -> Wanted {
        Wanted::All
    }
}

/// A bar on standard error; silent where that is no terminal.
fn bar(total: usize, done: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let template = "{pos}/{len} lines {bar:40} {rate}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, to: &mut dyn Write| _ = write!(to, "{:.1}/s", state.per_sec());
        bar.set_style(style.with_key("rate", rate));
    }
    bar.set_position(done as u64);
    bar.reset_eta();
    bar
}

/// Goes on with an output where it ends. One that has something else is left alone.
fn go_on(
    input: &mut Input<'_, BufReader<File>>,
    journal: &mut Journal,
    fingerprint: &str,
) -> Result<Resumed, String> {
    let resumed = resume(input, &mut [journal]).map_err(|error| error.to_string())?;
    if let Some(other) = journal.peek().map_err(|error| error.to_string())? {
        return Err(format!(
            "line {} is no answer to a line of the input in its place; remove the file, or name another one with -o",
            other.number
        ));
    }
    match resumed.fingerprint.as_deref().filter(|before| *before != fingerprint) {
        Some(before) => Err(format!(
            "it was begun by another model or other options ({before}, not {fingerprint}); remove the file, or name another one with -o"
        )),
        None => journal.cut().map(|()| resumed).map_err(|error| error.to_string()),
    }
}

/// Answers all lines of a file that have no answer in the output yet.
pub(super) fn batch(args: &BatchArgs) -> Result<(), String> {
    let (from, to) = args.files()?;
    let (of_input, of_output) = (at(from), at(to));
    let open = || File::open(from).map(BufReader::new).map_err(|error| of_input(&error));
    // Errors about files come before minutes of loading.
    let total = lines::count(open()?).map_err(|error| of_input(&error))?;
    let mut journal = Journal::open(to).map_err(|error| of_output(&error))?;
    let options = args.model.options()?;
    fetch_missing(&options, args.model.hub())?;
    let session = Session::open(&options, Supervision::default(), tell_notes)?;
    let answers = LineAnswers::new(server(&session, args)?, false);
    let mut input = Input::new(open()?, LINE_BYTES, &answers);
    let fingerprint = &session.model.fingerprint;
    let resumed = go_on(&mut input, &mut journal, fingerprint).map_err(|error| of_output(&error))?;
    if resumed.lines > 0 {
        output::note(format_args!("{} of {total} lines were answered before", resumed.lines));
    }
    let begun = Instant::now();
    let bar = bar(total, resumed.lines);
    let mut output = Output { journal: &mut journal, bar, failed: resumed.failed };
    let slots = Slots::new(session.model.limits.sequences + READY_LINES);
    let outcome = run(&mut input, &answers, &BatchSender::default(), &slots.lane(), &mut output);
    let Output { bar, failed, .. } = output;
    bar.finish_and_clear();
    match outcome {
        Ok(_) => {}
        Err(RunError::Input(error)) => return Err(of_input(&error)),
        Err(RunError::Output(error)) => return Err(of_output(&error)),
        Err(RunError::Threads(error)) => return Err(format!("the system gives no threads: {error}")),
        Err(RunError::Refused(_, reason) | RunError::Failed(reason)) => return Err(reason),
        Err(RunError::Panicked) => {
            return Err("an internal error, which was reported above, ended the batch".to_owned());
        }
    }
    journal.sync().map_err(|error| of_output(&error))?;
    let seconds = begun.elapsed().as_secs_f64();
    output::note(format_args!("{total} lines, {failed} of them errors, in {seconds:.1} s: {}", to.display()));
    Ok(())
}
