//! How far a weight format or a KV format takes a model from f32: the mean Kullback–Leibler
//! divergence KL(f32 ‖ format) of the next token's distribution over a text that is fed, not
//! generated.
use serde::Deserialize;
use std::collections::BTreeMap;
use verbatim::load::{AUX_FILES, Folder, NoProgress, WeightChoice, builtin, load_model};
use verbatim::text::{ChatTemplate, Tokenizer};
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::pool::Serial;
use verbatim_tests::chat;
use verbatim_tests::golden::{folder, read};
use verbatim_tests::paths;
use verbatim_tests::q4_0;
use verbatim_tests::runner::{Run, logprobs, run};

/// Log-probabilities of every position of every text.
fn distributions(
    model: &Folder,
    choice: WeightChoice,
    kv_format: KvFormat,
    texts: &[Vec<u32>],
) -> Vec<Vec<f64>> {
    let loaded = load_model(model, choice, &Serial, &NoProgress).expect("it loads");
    let how = Run { isa: *paths().last(), pool: &Serial, kv_format, chunk: 32 };
    let mut all = Vec::new();
    for ids in texts {
        run(&loaded.model(), &how, ids, &|_| true, &mut |_, logits| all.push(logprobs(logits)), &mut |_| {
            None
        });
    }
    all
}

/// The mean KL(f32 ‖ format) over the positions.
fn divergence(model: &Folder, format: WeightFormat, texts: &[Vec<u32>]) -> f64 {
    between(model, model, (WeightChoice::all(format), KvFormat::F32), texts)
}

/// The mean KL(f32 ‖ KV format) over the positions, with weights in f32.
fn kv_divergence(model: &Folder, kv_format: KvFormat, texts: &[Vec<u32>]) -> f64 {
    between(model, model, (WeightChoice::all(WeightFormat::F32), kv_format), texts)
}

/// The mean KL(f32 ‖ Q4_0): matrices are rounded as ggml rounds them, then multiplied in f32.
fn divergence_of_q4_0(model: &Folder, texts: &[Vec<u32>]) -> f64 {
    let rounded = q4_0::rounded(model, &AUX_FILES.map(|(name, _)| name)).expect("one file");
    between(model, &rounded, (WeightChoice::all(WeightFormat::F32), KvFormat::F32), texts)
}

fn between(
    model: &Folder,
    other: &Folder,
    (choice, kv_format): (WeightChoice, KvFormat),
    texts: &[Vec<u32>],
) -> f64 {
    let exact = distributions(model, WeightChoice::all(WeightFormat::F32), KvFormat::F32, texts);
    let rounded = distributions(other, choice, kv_format, texts);
    let of = |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    exact.iter().zip(&rounded).map(of).sum::<f64>() / exact.len() as f64
}

#[derive(Deserialize)]
struct Case {
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct HeldOut {
    phrasings: Vec<String>,
    capitals: BTreeMap<String, String>,
}

/// What the built-in model is for: every case of its golden, and the questions that its training
/// never saw, answered. A few hundred tokens would not tell formats of equal merit apart.
fn texts_of_the_built_in_model() -> Vec<Vec<u32>> {
    let cases: Vec<Case> = read(&folder().join("demo.json"));
    let mut texts: Vec<Vec<u32>> =
        cases.into_iter().map(|case| [case.prompt_ids, case.ids].concat()).collect();
    let file = |name: &str| builtin::folder().read_small(name, 1 << 20).expect("it can be read");
    let (json, config) = (file("tokenizer.json").expect("a tokenizer"), file("tokenizer_config.json"));
    let tokenizer = Tokenizer::new(&json, config.as_deref()).expect("the tokenizer loads");
    let template = file("chat_template.jinja");
    let template = ChatTemplate::find(None, template.as_deref(), tokenizer.config());
    let template = template.expect("no error").expect("a template");
    let held: HeldOut = read(&folder().join("../../host-linux/demo/held_out.json"));
    for (i, (country, city)) in held.capitals.iter().enumerate() {
        let question = held.phrasings[i % held.phrasings.len()].replace("{}", country);
        let prompt = chat::rendered(&template, chat::question(&question));
        let answer = format!("{prompt}The capital of {country} is {city}.");
        texts.push(tokenizer.encode_chat(&answer).expect("ids"));
    }
    texts
}

#[test]
fn the_built_in_model_keeps_its_distribution() {
    let texts = texts_of_the_built_in_model();
    println!("built-in model: {} positions", texts.iter().map(Vec::len).sum::<usize>());
    for (format, max) in [(WeightFormat::Bf16, 2.5e-3), (WeightFormat::Int8, 2.5e-3)] {
        let kl = divergence(&builtin::folder(), format, &texts);
        println!("built-in model: KL(f32 || {}) = {kl:.2e}", format.name());
        assert!((0.0..=max).contains(&kl), "{}: {kl:e}", format.name());
    }
    int8_keys_and_values_are_close("built-in model", &builtin::folder(), &texts);
    int4_is_no_worse_than_q4_0("built-in model", &builtin::folder(), &texts);
    more_bits_are_closer("built-in model", &builtin::folder(), &texts);
}

/// int8 KV is closer to f32 than int8 weights are.
fn int8_keys_and_values_are_close(name: &str, model: &Folder, texts: &[Vec<u32>]) {
    let [bf16, int8] = [KvFormat::Bf16, KvFormat::Int8].map(|format| kv_divergence(model, format, texts));
    println!("{name}: KL(f32 || bf16 KV) = {bf16:.2e}, KL(f32 || int8 KV) = {int8:.2e}");
    assert!((0.0..=2e-3).contains(&int8), "{int8:e}");
}

/// int4 is at least as close to f32 as Q4_0, at fewer bits a weight and with rounded activations.
fn int4_is_no_worse_than_q4_0(name: &str, model: &Folder, texts: &[Vec<u32>]) {
    let (int4, q4_0) = (divergence(model, WeightFormat::Int4, texts), divergence_of_q4_0(model, texts));
    println!("{name}: KL(f32 || int4, all of it) = {int4:.2e}, KL(f32 || Q4_0) = {q4_0:.2e}");
    assert!((0.0..=q4_0).contains(&int4), "{int4:e} {q4_0:e}");
}

/// Each format is closer to f32 than those of fewer bits, by a bound: a share of what 4 bits for
/// all weights cost. `int4`, `int5` and `int6` keep values and head in int8.
fn more_bits_are_closer(name: &str, model: &Folder, texts: &[Vec<u32>]) {
    let bounds =
        [("int4:value=int4,head=int4", 1.0), ("int4", 0.75), ("int5", 0.25), ("int6", 0.1), ("int8", 0.02)];
    let far = bounds.map(|(choice, _)| {
        let choice = WeightChoice::named(Some(choice), None).expect("a choice");
        between(model, model, (choice, KvFormat::F32), texts)
    });
    for ((choice, share), kl) in bounds.iter().zip(far) {
        println!("{name}: KL(f32 || {choice}) = {kl:.2e}");
        assert!(kl <= share * far[0], "{choice}: {kl:e} of {:e}", far[0]);
    }
    assert!(far.is_sorted_by(|fewer, more| fewer > more), "{far:?}");
}

#[test]
fn stories260k_keeps_its_distribution() {
    let test = "stories260k_keeps_its_distribution";
    let Some(path) = verbatim_tests::data::find(test, "models/stories260K") else { return };
    let Some(text) = verbatim_tests::data::find(test, "text/tinystories_sample.txt") else { return };
    let json = std::fs::read(path.join("tokenizer.json")).expect("a tokenizer");
    let tokenizer = Tokenizer::new(&json, None).expect("the tokenizer loads");
    let text = std::fs::read_to_string(text).expect("UTF-8");
    let text: String = text.chars().take(3600).collect();
    let ids = tokenizer.encode(&text, false).expect("ids");
    let texts: Vec<Vec<u32>> = ids.chunks(255).map(|ids| [&[1], ids].concat()).collect();
    let kl = divergence(&Folder::from(path.as_path()), WeightFormat::Int8, &texts);
    println!("stories260K: KL(f32 || int8) = {kl:.2e}");
    assert!((0.0..=2.5e-3).contains(&kl), "{kl:e}");
    int8_keys_and_values_are_close("stories260K", &Folder::from(path.as_path()), &texts);
    int4_is_no_worse_than_q4_0("stories260K", &Folder::from(path.as_path()), &texts);
    more_bits_are_closer("stories260K", &Folder::from(path.as_path()), &texts);
}
