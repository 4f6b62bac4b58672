//! `verbatim inspect`: what a model is and what it will take.
use super::args::ModelArgs;
use super::errors;
use super::session::open;
use crate::load::formats_of;
use crate::runtime::ServedModel;
use crate::sys::cpu::{Bound, model_name};
use verbatim_core::NUMERICS_VERSION;
use verbatim_core::cache::BLOCK;
use verbatim_core::engine::{DraftCache, SpeculationMode};
use verbatim_core::isa::Isa;

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Where draft tokens come from, and what that takes.
fn speculation(served: &ServedModel) -> String {
    let Some(draft) = &served.draft_model else {
        let when = match served.speculation.mode {
            _ if !served.speculation.lookup => return "off".to_owned(),
            SpeculationMode::Auto => "where they pay",
            SpeculationMode::Forced => "always",
        };
        return format!("up to {} draft tokens from the text itself, {when}", served.limits.draft_len);
    };
    let model = draft.loaded.model();
    let cache = match draft.cache {
        DraftCache::Shared => "KV shared",
        DraftCache::Own => "KV of its own",
    };
    format!(
        "up to {} draft tokens by {}: {} as {}, {cache}; and from the text itself, where they pay",
        served.limits.draft_len,
        draft.loaded.path().display(),
        megabytes(model.weight_bytes()),
        model.config().weight_format.name(),
    )
}

/// Where the weights of a model lie.
pub(super) fn residence(served: &ServedModel) -> &'static str {
    if served.loaded.is_mapped() { "mapped from the file" } else { "in memory of their own" }
}

/// What bounds the number of workers.
fn bound_name(bound: Bound) -> &'static str {
    if bound == Bound::Requested { "--threads" } else { bound.name() }
}

/// Prints what a model is: its shape, its memory, its instruction set and its fingerprint.
pub(super) fn inspect(args: &ModelArgs) -> Result<(), String> {
    let served = open(&args.options()?)?;
    let model = served.loaded.model();
    let (c, limits) = (model.config(), &served.limits);
    println!("model        {} ({})", served.name, served.loaded.path().display());
    println!(
        "             {}: {} layers, hidden {}, intermediate {}, {} heads of {}, {} KV heads, vocabulary {}{}",
        c.architecture.family().model_type,
        c.layer_count,
        c.hidden_size,
        c.intermediate_size,
        c.head_count,
        c.head_dim,
        c.kv_head_count,
        c.vocab_size,
        if c.tied_head { ", tied head" } else { "" },
    );
    println!("context      {} of {} positions", limits.model_len, c.position_count);
    let weights = megabytes(model.weight_bytes());
    let residence = residence(&served);
    println!("weights      {weights} as {}, {residence}", formats_of(c));
    for (i, weights) in served.loaded.stored().iter().enumerate() {
        println!(
            "{}{:<7} as {:<6} {:>8.1} M weights in {} tensor{}",
            if i == 0 { "source       " } else { "             " },
            weights.source,
            weights.stored,
            weights.weight_count as f64 / 1e6,
            weights.tensor_count,
            if weights.tensor_count == 1 { "" } else { "s" },
        );
    }
    println!("flushed      {} nonzero weights below 2^-50", model.flushed_count());
    println!("speculation  {}", speculation(&served));
    let per_context = c.kv_layout(limits.kv_format, limits.model_len.div_ceil(BLOCK)).total_bytes();
    println!(
        "KV           {} for {} tokens as {}; capacity {} tokens, {}",
        megabytes(per_context),
        limits.model_len,
        limits.kv_format.name(),
        limits.block_count() * BLOCK,
        megabytes(served.plan.kv_bytes()),
    );
    println!("engine       {} in all:", megabytes(served.plan.total_bytes()));
    for region in served.plan.layout().regions().iter().filter(|region| region.bytes >= 100_000) {
        println!("             {:>10}  {}", megabytes(region.bytes), region.name);
    }
    let known: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    println!("CPU          {}", model_name());
    println!("instructions {} (of {})", served.isa.name(), known.join(", "));
    println!("workers      {} ({})", served.workers.workers, bound_name(served.workers.bound));
    println!("chat         {}", if served.template.is_some() { "has a template" } else { "no template" });
    println!("numerics     version {NUMERICS_VERSION}");
    println!("fingerprint  {}", served.fingerprint);
    for note in &served.notes {
        println!("note         {}", errors::note(note));
    }
    Ok(())
}
