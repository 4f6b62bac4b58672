//! Speculation: what it gains where text is copied, what it costs where drafting fails, and what
//! the same model in int4 gains at the agreement that it has on real text.
use super::Table;
use super::cycle::{Cycle, LONG_FROM, SHORT, is_known, text};
use super::drive::{Ask, Rig, Round, acceptance};
use crate::model::load;
use crate::report::median;
use serde_json::json;
use std::path::{Path, PathBuf};
use verbatim::load::{
    Compress, Folder, ImageAccess, LoadedModel, NoProgress, WeightChoice, builtin, load_model,
};
use verbatim::sys::pool::FutexPool;
use verbatim::text::{ChatTemplate, TemplateInput, Tokenizer};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::engine::{DraftCache, DraftCounters, Speculation, SpeculationMode};
use verbatim_core::isa::Isa;
use verbatim_core::sampling::SamplingParams;

/// How often each side of a comparison is measured, in turns.
const TURNS: usize = 5;
/// Draft tokens a sequence has at most: the default of the server.
const DRAFT_LEN: usize = 8;
const NO_DRAFTS: (Speculation, usize) = (Speculation::OFF, 0);
const LOOKUP: (Speculation, usize) = (Speculation::LOOKUP, DRAFT_LEN);
const BY_MODEL: Speculation = Speculation { lookup: false, ..Speculation::AUTO };

type Machine<'p> = (Isa, &'p FutexPool);

pub(super) fn report(
    table: &mut Table,
    (path, access): (&Path, ImageAccess),
    machine: Machine<'_>,
    is_asked: &dyn Fn(&str) -> bool,
    real: &[PathBuf],
) -> Result<(), String> {
    if is_asked("cycle") {
        of_cycle(table, &mut Cycle::new(path)?, machine)?;
    }
    if is_asked("copies") {
        of_real_copies(table, machine)?;
    }
    if is_asked("random") {
        of_random(table, &load(path, WeightChoice::default(), access, machine.1)?, machine)?;
    }
    if is_asked("self") {
        let agreement = of_agreement(table, machine, real)?;
        of_itself(table, &mut Cycle::new(path)?, machine, agreement)?;
    }
    Ok(())
}

fn rig<'r>(loaded: &'r LoadedModel, (isa, pool): Machine<'r>) -> Rig<'r> {
    Rig { loaded, draft_model: None, isa, pool }
}

/// The speed of a single request with drafting as a multiple of that without, the median over
/// rounds in turn; and the counters of draft tokens.
fn gain(
    with: (&Rig<'_>, (Speculation, usize)),
    without: &Rig<'_>,
    ask: &Ask,
    rounds: usize,
) -> Result<(f64, [DraftCounters; 2]), String> {
    let asks = std::slice::from_ref(ask);
    let best = |rounds: &[Round]| rounds.iter().map(Round::decode_rate).fold(0.0, f64::max);
    let (mut ratios, mut last) = (Vec::new(), Default::default());
    for _ in 0..TURNS {
        let drafted = with.0.run(asks, 1, with.1, rounds)?;
        last = drafted[rounds - 1].drafts;
        ratios.push(best(&drafted) / best(&without.run(asks, 1, NO_DRAFTS, rounds)?));
    }
    Ok((median(ratios), last))
}

fn percent(share: f64) -> String {
    format!("{:.0} % of draft tokens accepted", 100.0 * share)
}

fn of_cycle(table: &mut Table, cycle: &mut Cycle, machine: Machine<'_>) -> Result<(), String> {
    let loaded = cycle.load(|_| true, WeightChoice::default(), machine.1)?;
    let rig = rig(&loaded, machine);
    let ask = Ask::greedy(text(5, 2 * SHORT, cycle.vocab()), 96);
    let (ratio, drafts) = gain((&rig, LOOKUP), &rig, &ask, 1)?;
    table.at_least("lookup: text that cycles, over no drafting", ratio, 2.0, &percent(acceptance(&drafts)));
    Ok(())
}

/// The built-in model tells the story that it told before.
fn of_real_copies(table: &mut Table, machine: Machine<'_>) -> Result<(), String> {
    let loaded = load_model(&builtin::folder(), WeightChoice::default(), machine.1, &NoProgress);
    let loaded = loaded.map_err(|error| error.to_string())?;
    let tokenizer = tokenizer(&loaded)?;
    let template = ChatTemplate::find(None, loaded.file("chat_template.jinja"), tokenizer.config());
    let template = template.map_err(|error| error.to_string())?.ok_or("no template")?;
    let rig = rig(&loaded, machine);
    let mut messages = vec![json!({"role": "user", "content": "Tell me a story."})];
    let ask = |messages: &[serde_json::Value]| -> Result<Ask, String> {
        let input = TemplateInput {
            messages: messages.to_vec(),
            add_generation_prompt: true,
            variables: verbatim::text::conversation::template_variables(&tokenizer),
            ..TemplateInput::default()
        };
        let rendered = template.render(&input).map_err(|error| error.to_string())?;
        let prompt = tokenizer.encode_chat(&rendered).map_err(|error| error.to_string())?;
        let room = loaded.model().config().position_count - prompt.len() - 1;
        Ok(Ask { stop_ids: loaded.generation().eos_ids.clone(), ..Ask::greedy(prompt, room.min(160)) })
    };
    let first = rig.run(&[ask(&messages)?], 1, NO_DRAFTS, 1)?;
    let story = tokenizer.decode(&first[0].ids, true).map_err(|error| error.to_string())?;
    messages.push(json!({"role": "assistant", "content": story}));
    messages.push(messages[0].clone());
    let (ratio, drafts) = gain((&rig, LOOKUP), &rig, &ask(&messages)?, 5)?;
    let note = format!("the built-in model's story again; {}", percent(acceptance(&drafts)));
    table.at_least("lookup: real copies, over no drafting", ratio, 2.0, &note);
    Ok(())
}

fn of_random(table: &mut Table, loaded: &LoadedModel, machine: Machine<'_>) -> Result<(), String> {
    let rig = rig(loaded, machine);
    let vocab = loaded.model().config().vocab_size;
    let params = SamplingParams { temperature: 1.0, seed: 3, ..SamplingParams::GREEDY };
    let prompt = (0..64).map(|i| (i * 7919 % vocab) as u32).collect();
    let ask = Ask { params, ..Ask::greedy(prompt, 96) };
    let (ratio, drafts) = gain((&rig, LOOKUP), &rig, &ask, 1)?;
    let note = format!("{} draft tokens in 96", drafts[0].verified);
    table.at_least("lookup: random text, over no drafting", ratio, 0.97, &note);
    Ok(())
}

fn tokenizer(loaded: &LoadedModel) -> Result<Tokenizer, String> {
    let json = loaded.file("tokenizer.json").ok_or("no tokenizer.json")?;
    Tokenizer::new(json, loaded.file("tokenizer_config.json")).map_err(|error| error.to_string())
}

/// How often int4 draws the token that bf16 draws: the minimum over some real models.
fn of_agreement(table: &mut Table, (isa, pool): Machine<'_>, real: &[PathBuf]) -> Result<f64, String> {
    let mut min = 1.0_f64;
    let folders = real.iter().map(|path| Folder::from(path.as_path()));
    for folder in std::iter::once(builtin::folder()).chain(folders) {
        let with = |format| {
            let choice = WeightChoice { compress: Compress::Off, ..WeightChoice::all(format) };
            load_model(&folder, choice, pool, &NoProgress).map_err(|error| error.to_string())
        };
        let (loaded, draft) = (with(WeightFormat::Bf16)?, with(WeightFormat::Int4)?);
        let tokenizer = tokenizer(&loaded)?;
        let rig = Rig { loaded: &loaded, draft_model: Some((&draft, DraftCache::Shared)), isa, pool };
        let mut asks = Vec::new();
        for (seed, start) in ["Once upon a time", "One day, a little girl", "The dog was", "Tom and his mom"]
            .iter()
            .enumerate()
        {
            for temperature in [0.0, 0.7, 1.0] {
                let prompt = tokenizer.encode(start, true).map_err(|error| error.to_string())?;
                let params = SamplingParams { temperature, seed: seed as u64, ..SamplingParams::GREEDY };
                let stop_ids = loaded.generation().eos_ids.clone();
                asks.push(Ask { params, stop_ids, ..Ask::greedy(prompt, 128) });
            }
        }
        let speculation = Speculation { mode: SpeculationMode::Forced, ..BY_MODEL };
        let rounds = rig.run(&asks, 4, (speculation, 4), 1)?;
        let share = acceptance(&rounds[0].drafts);
        let name = format!("self: draft tokens of int4 that bf16 accepts, {}", folder.path().display());
        table.figure(&name, 100.0 * share, "%", "on its own text, at temperatures 0, 0.7 and 1");
        min = min.min(share);
    }
    Ok(min)
}

/// bf16 with the same model in int4 as the draft model, whose tokens are made right as often as
/// those on real text were.
fn of_itself(
    table: &mut Table,
    cycle: &mut Cycle,
    machine: Machine<'_>,
    agreement: f64,
) -> Result<(), String> {
    let (isa, pool) = machine;
    let mut of = |right: f64, format, compress| {
        let choice = WeightChoice { compress, ..WeightChoice::all(format) };
        cycle.load(|token| is_known(token, right), choice, pool)
    };
    let raw = of(1.0, WeightFormat::Bf16, Compress::Off)?;
    let draft = of(agreement, WeightFormat::Int4, Compress::Off)?;
    let compressed = of(1.0, WeightFormat::Bf16, Compress::On)?;
    let ask = Ask::greedy(text(LONG_FROM + 5, 64, cycle.vocab()), 96);
    for (name, bar, loaded) in
        [("raw decode.bf16", Some(1.5), &raw), ("compressed decode.bf16", None, &compressed)]
    {
        let with = Rig { loaded, draft_model: Some((&draft, DraftCache::Shared)), isa, pool };
        let (ratio, drafts) = gain((&with, (BY_MODEL, DRAFT_LEN)), &rig(loaded, machine), &ask, 1)?;
        let note = format!(
            "{}, forced to the {:.0} % of real text",
            percent(acceptance(&drafts)),
            100.0 * agreement
        );
        let case = format!("self: {name} drafted by int4, over none");
        match bar {
            Some(bar) => table.at_least(&case, ratio, bar, &note),
            None => table.figure(&case, ratio, "x", &note),
        }
    }
    Ok(())
}
