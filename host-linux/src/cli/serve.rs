//! `verbatim serve`: the HTTP server, and what it says on standard error.
use super::args::ServeArgs;
use super::generate::Bar;
use crate::runtime::{EngineHandle, ServedModel};
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
    let model = Arc::new(ServedModel::open(&options, &Bar::new())?);
    model.tell_notes();
    let (engine, thread) = EngineHandle::start(Arc::clone(&model), options.step_ms)?;
    let address = listener.local_addr().map_err(|error| format!("{}:{}: {error}", args.host, args.port))?;
    announce(&model, options.model.is_none(), address);
    let log = Log::new(|notice| match notice {
        Notice::Stopping => eprintln!("{notice}"),
        _ => eprintln!("note: {notice}"),
    });
    let result = crate::serve::serve(listener, model, engine.clone(), Arc::new(log));
    engine.stop();
    // A panic of the thread was reported on standard error.
    let _ = thread.join();
    result
}

/// Says what is served and where, and gives a command to try it.
fn announce(model: &ServedModel, is_built_in: bool, address: SocketAddr) {
    eprintln!(
        "{} ({}), weights {}, on {} with {}, {} worker{}",
        model.name,
        model.fingerprint,
        model.loaded.residence(),
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
