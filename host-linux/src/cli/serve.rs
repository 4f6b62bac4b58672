//! `verbatim serve`: the HTTP server, and what it says on standard error.
use super::args::ServeArgs;
use super::inspect::residence;
use super::session::Session;
use crate::runtime::{ModelSource, ServedModel};
use crate::serve::notice::Notice;
use crate::serve::observe::Log;
use crate::sys::cpu::model_name;
use std::net::SocketAddr;
use std::sync::Arc;

/// Opens the model and serves it until a signal asks the process to stop.
pub(super) fn serve(args: &ServeArgs) -> Result<(), String> {
    let options = args.model.options()?;
    // An error about the port should come before minutes of loading.
    let listener = crate::serve::listen(&args.host, args.port)?;
    let address = listener.local_addr().map_err(|error| format!("{}:{}: {error}", args.host, args.port))?;
    let session = Session::open(&options)?;
    announce(&session.model, options.model == ModelSource::BuiltIn, address);
    let log = Log::new(|notice| match notice {
        Notice::Stopping => eprintln!("{notice}"),
        _ => eprintln!("note: {notice}"),
    });
    crate::serve::serve(listener, Arc::clone(&session.model), session.engine.clone(), Arc::new(log))
}

/// Says what is served, where, and a command to try it.
fn announce(model: &ServedModel, is_built_in: bool, address: SocketAddr) {
    eprintln!(
        "{} ({}), weights {}, on {} with {}, {} worker{}",
        model.name,
        model.fingerprint,
        residence(model),
        model_name(),
        model.isa.name(),
        model.workers.workers,
        if model.workers.workers == 1 { "" } else { "s" },
    );
    if is_built_in {
        eprintln!("this is the small built-in demonstration model; --model PATH serves a real one");
    }
    let (path, body) = if model.template.is_some() {
        let question = r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}]}"#;
        ("chat/completions", question)
    } else {
        ("completions", r#"{"prompt": "Once upon a time", "max_tokens": 32, "temperature": 0}"#)
    };
    eprintln!("listening on http://{address}; try");
    eprintln!("  curl http://{address}/v1/{path} -H 'Content-Type: application/json' -d '{body}'");
}
