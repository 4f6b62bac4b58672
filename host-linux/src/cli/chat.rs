//! `verbatim chat`: a conversation on a terminal.
use super::args::ChatArgs;
use super::generate::open_for_one;
use crate::text::{ChatEncoder, TextError};
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// Answers each line of input. `/reset` forgets the conversation; `/exit` or the end of input ends.
pub(super) fn chat(args: &ChatArgs) -> Result<(), String> {
    let session = open_for_one(&args.model)?;
    let model = &session.model;
    let with_flag = |error: TextError| format!("{error}, or give a template with --chat-template");
    let encoder = ChatEncoder::new(&model.tokenizer, model.template.as_ref()).map_err(with_flag)?;
    eprintln!("{} ({}); /reset forgets, /exit ends", model.name, model.fingerprint);
    let mut messages: Vec<Value> = Vec::new();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        eprint!("> ");
        std::io::stderr().flush().map_err(|error| format!("standard error: {error}"))?;
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line.map_err(|error| format!("standard input: {error}"))?;
        match line.trim() {
            "" => continue,
            "/exit" | "/quit" => return Ok(()),
            "/reset" => {
                messages.clear();
                continue;
            }
            _ => {}
        }
        messages.push(json!({"role": "user", "content": line}));
        let ids = encoder.encode(&messages).map_err(|error| error.to_string())?;
        if ids.len() >= model.limits.model_len {
            eprintln!(
                "the conversation fills the context of {} tokens: /reset to go on",
                model.limits.model_len
            );
            messages.pop();
            continue;
        }
        let request = session.request(&args.sampling, ids)?;
        let answer = session.stream(request, &args.sampling)?;
        messages.push(json!({"role": "assistant", "content": answer}));
    }
}
