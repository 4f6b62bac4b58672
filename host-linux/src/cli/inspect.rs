//! `verbatim inspect`: what a model is and what it will take.
use super::args::InspectArgs;
use super::hub::missing::fetch_missing;
use super::output;
use super::session::{notes, open};
use crate::load::formats_of;
use crate::runtime::ServedModel;
use crate::sys::cpu::{Bound, model_name};
use serde_json::{Value, json};
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
pub(super) fn inspect(args: &InspectArgs) -> Result<(), String> {
    let options = args.options()?;
    fetch_missing(&options, args.hub())?;
    let served = open(&options)?;
    if args.json { output::line(as_json(&served)) } else { output::lines(&lines(&served)) }
}

/// What `lines` tell, as one object of JSON: bytes and tokens are numbers.
fn as_json(served: &ServedModel) -> Value {
    let model = served.loaded.model();
    let (c, limits) = (model.config(), &served.limits);
    let stored = served.loaded.stored().iter().map(|weights| {
        json!({
            "source": weights.source,
            "stored": weights.stored,
            "weights": weights.weight_count,
            "tensors": weights.tensor_count,
        })
    });
    let regions = served.plan.layout().regions().iter();
    let regions = regions.map(|region| json!({"name": region.name, "bytes": region.bytes}));
    json!({
        "model": {
            "name": served.name,
            "path": served.loaded.path().display().to_string(),
            "type": c.architecture.family().model_type,
            "layers": c.layer_count,
            "hidden": c.hidden_size,
            "intermediate": c.intermediate_size,
            "heads": c.head_count,
            "head_dim": c.head_dim,
            "kv_heads": c.kv_head_count,
            "vocabulary": c.vocab_size,
            "tied_head": c.tied_head,
            "positions": c.position_count,
            "has_chat_template": served.template.is_some(),
        },
        "weights": {
            "bytes": model.weight_bytes(),
            "format": formats_of(c),
            "is_mapped": served.loaded.is_mapped(),
            "stored": stored.collect::<Vec<_>>(),
            "flushed": model.flushed_count(),
        },
        "engine": {
            "bytes": served.plan.total_bytes(),
            "regions": regions.collect::<Vec<_>>(),
            "context_tokens": limits.model_len,
            "sequences": limits.sequences,
            "queue": limits.queue,
            "rows": limits.rows,
            "kv": {
                "format": limits.kv_format.name(),
                "tokens": limits.block_count() * BLOCK,
                "bytes": served.plan.kv_bytes(),
                "context_bytes": context_bytes(served),
            },
            "draft_tokens": if served.speculation.lookup { limits.draft_len } else { 0 },
            "draft_model": served.draft_model.as_ref().map(|draft| draft.loaded.path().display().to_string()),
        },
        "cpu": {
            "name": model_name(),
            "isa": served.isa.name(),
            "available": Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>(),
            "workers": served.workers.workers,
            "bound": bound_name(served.workers.bound),
        },
        "numerics_version": NUMERICS_VERSION,
        "fingerprint": served.fingerprint,
        "notes": notes(served).collect::<Vec<_>>(),
    })
}

/// Bytes of the keys and values of one sequence as long as the context.
fn context_bytes(served: &ServedModel) -> usize {
    let limits = &served.limits;
    served.loaded.model().config().kv_layout(limits.kv_format, limits.model_len.div_ceil(BLOCK)).total_bytes()
}

/// What a model is, a line each.
fn lines(served: &ServedModel) -> Vec<String> {
    let model = served.loaded.model();
    let (c, limits) = (model.config(), &served.limits);
    let mut all = vec![
        format!("model        {} ({})", served.name, served.loaded.path().display()),
        format!(
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
        ),
        format!("context      {} of {} positions", limits.model_len, c.position_count),
    ];
    let weights = megabytes(model.weight_bytes());
    let residence = residence(served);
    all.push(format!("weights      {weights} as {}, {residence}", formats_of(c)));
    for (i, weights) in served.loaded.stored().iter().enumerate() {
        all.push(format!(
            "{}{:<7} as {:<6} {:>8.1} M weights in {} tensor{}",
            if i == 0 { "source       " } else { "             " },
            weights.source,
            weights.stored,
            weights.weight_count as f64 / 1e6,
            weights.tensor_count,
            if weights.tensor_count == 1 { "" } else { "s" },
        ));
    }
    all.push(format!("flushed      {} nonzero weights below 2^-50", model.flushed_count()));
    all.push(format!("speculation  {}", speculation(served)));
    all.push(format!(
        "KV           {} for {} tokens as {}; capacity {} tokens, {}",
        megabytes(context_bytes(served)),
        limits.model_len,
        limits.kv_format.name(),
        limits.block_count() * BLOCK,
        megabytes(served.plan.kv_bytes()),
    ));
    all.push(format!("engine       {} in all:", megabytes(served.plan.total_bytes())));
    for region in served.plan.layout().regions().iter().filter(|region| region.bytes >= 100_000) {
        all.push(format!("             {:>10}  {}", megabytes(region.bytes), region.name));
    }
    let known: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    all.push(format!("CPU          {}", model_name()));
    all.push(format!("instructions {} (of {})", served.isa.name(), known.join(", ")));
    all.push(format!("workers      {} ({})", served.workers.workers, bound_name(served.workers.bound)));
    all.push(format!(
        "chat         {}",
        if served.template.is_some() { "has a template" } else { "no template" }
    ));
    all.push(format!("numerics     version {NUMERICS_VERSION}"));
    all.push(format!("fingerprint  {}", served.fingerprint));
    for note in notes(served) {
        all.push(format!("note         {note}"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::NoProgress;
    use crate::runtime::Options;

    #[test]
    fn the_object_has_what_the_words_have() {
        let options = Options { max_seqs: 3, workers: Some(1), kv_tokens: Some(4096), ..Options::default() };
        let served = ServedModel::open(&options, &NoProgress).expect("the built-in model");
        let told = as_json(&served);
        assert_eq!(told["fingerprint"], served.fingerprint);
        assert_eq!(told["model"]["vocabulary"], served.loaded.model().config().vocab_size);
        assert_eq!((&told["engine"]["sequences"], &told["cpu"]["workers"]), (&json!(3), &json!(1)));
        assert_eq!(told["engine"]["kv"]["tokens"], 4096);
        let regions = told["engine"]["regions"].as_array().expect("a list");
        let sum: u64 = regions.iter().filter_map(|region| region["bytes"].as_u64()).sum();
        let whole = told["engine"]["bytes"].as_u64().expect("a number");
        assert!(sum <= whole && sum > whole / 10 * 9, "{sum} of {whole}");
        assert!(told["weights"]["stored"].as_array().is_some_and(|list| !list.is_empty()));
    }
}
