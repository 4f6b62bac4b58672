//! The model against Hugging Face transformers: the same logprobs within 1e-4 and the same greedy
//! ids in f32, and in bf16 as close as transformers' own bf16 is.
use serde::Deserialize;
use verbatim::load::{Folder, NoProgress, WeightChoice, load_model};
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::pool::Serial;
use verbatim_tests::golden::{ModelGolden, PositionGolden};
use verbatim_tests::paths;
use verbatim_tests::runner::{Run, argmax, logprobs, run};

/// The greatest difference to the golden's logprobs over its positions, and the greedy continuation
/// of the prompt.
fn compare(
    golden: &ModelGolden,
    model: &verbatim_core::model::PackedModel<'_>,
    kv_format: KvFormat,
    positions: &[PositionGolden],
) -> (f64, f64) {
    let ids: Vec<u32> = golden.prompt_ids.iter().chain(&golden.greedy.ids).copied().collect();
    let how = Run { isa: *paths().last(), pool: &Serial, kv_format, chunk: 64 };
    let (mut worst, mut sum, mut count) = (0.0_f64, 0.0, 0.0);
    let wanted = |position: usize| positions.iter().any(|golden| golden.position == position);
    let mut take = |position: usize, logits: &[f32]| {
        let got = logprobs(logits);
        for golden in positions.iter().filter(|golden| golden.position == position) {
            for (id, expected) in golden.top.iter().chain([&golden.next]) {
                let delta = (got[*id as usize] - expected).abs();
                worst = worst.max(delta);
                sum += delta;
                count += 1.0;
            }
        }
    };
    run(model, &how, &ids, &wanted, &mut take, &mut |_| None);
    assert!(count > 0.0);
    (worst, sum / count)
}

#[test]
fn random_models_equal_transformers_in_f32() {
    for (name, golden) in ModelGolden::all() {
        let directory = golden.write(&name);
        let choice = WeightChoice::all(WeightFormat::F32);
        let loaded = load_model(&Folder::from(directory.path()), choice, &Serial, &NoProgress)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let model = loaded.model();
        let (worst, _) = compare(&golden, &model, KvFormat::F32, &golden.positions);
        println!("{name}: f32 max |Δlogprob| {worst:.2e}");
        assert!(worst <= 1e-4, "{name}: {worst:e}");

        let mut generated = Vec::new();
        let mut worst = 0.0_f64;
        let how = Run { isa: *paths().last(), pool: &Serial, kv_format: KvFormat::F32, chunk: 32 };
        let mut more = |logits: &[f32]| {
            let id = argmax(logits);
            let expected = golden.greedy.logprobs[generated.len()];
            worst = worst.max((logprobs(logits)[id as usize] - expected).abs());
            generated.push(id);
            (generated.len() < golden.greedy.ids.len()).then_some(id)
        };
        run(&model, &how, &golden.prompt_ids, &|_| false, &mut |_, _| {}, &mut more);
        assert_eq!(generated, golden.greedy.ids, "{name}");
        assert!(worst <= 1e-4, "{name}: {worst:e}");
    }
}

/// bf16 keeps 8 bits, so two implementations that round at different places differ by as much as
/// either differs from f32. transformers' own distance from f32 is therefore the measure: ours from
/// f32 may be no more than that of transformers', with half as much again for the luck of the few
/// positions that are compared.
#[test]
fn random_models_are_as_close_in_bf16_as_transformers_is() {
    for (name, golden) in ModelGolden::all() {
        let directory = golden.write(&name);
        let choice = WeightChoice::all(WeightFormat::Bf16);
        let loaded = load_model(&Folder::from(directory.path()), choice, &Serial, &NoProgress)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (worst, mean) = compare(&golden, &loaded.model(), KvFormat::Bf16, &golden.positions);
        let theirs = (golden.bf16.max_delta, golden.bf16.mean_delta);
        println!("{name}: bf16 max {worst:.3} mean {mean:.4}, transformers {:.3} {:.4}", theirs.0, theirs.1);
        assert!(mean <= 1.5 * theirs.1 && worst <= 1.5 * theirs.0, "{name}: {worst} {mean} {theirs:?}");
    }
}

#[derive(Deserialize)]
struct StoriesGreedy {
    prompt_ids: Vec<u32>,
    new_ids: Vec<u32>,
    #[serde(alias = "new_logprobs", alias = "logprobs")]
    logprobs: Vec<f64>,
}

#[test]
fn stories260k_continues_as_in_transformers() {
    let test = "stories260k_continues_as_in_transformers";
    let Some(path) = verbatim_tests::data::find(test, "models/stories260K") else { return };
    let golden: StoriesGreedy = verbatim_tests::golden::read(&path.join("greedy.json"));
    let loaded = load_model(&Folder::from(path.as_path()), WeightChoice::default(), &Serial, &NoProgress)
        .expect("stories260K loads");
    let how = Run { isa: *paths().last(), pool: &Serial, kv_format: KvFormat::F32, chunk: 3 };
    let mut generated = Vec::new();
    let mut worst = 0.0_f64;
    let mut more = |logits: &[f32]| {
        let id = argmax(logits);
        worst = worst.max((logprobs(logits)[id as usize] - golden.logprobs[generated.len()]).abs());
        generated.push(id);
        (generated.len() < golden.new_ids.len()).then_some(id)
    };
    run(&loaded.model(), &how, &golden.prompt_ids, &|_| false, &mut |_, _| {}, &mut more);
    println!("stories260K: max |Δlogprob| {worst:.2e}");
    assert_eq!(generated, golden.new_ids);
    assert!(worst <= 1e-4, "{worst:e}");
}

#[derive(Deserialize)]
struct Stories {
    window: usize,
    bos: u32,
    texts: Vec<StoriesText>,
}

#[derive(Deserialize)]
struct StoriesText {
    text: String,
    bytes: usize,
    ids: usize,
    nll: f64,
    scored: usize,
    perplexity: f64,
    windows: Vec<StoriesWindow>,
}

#[derive(Deserialize)]
struct StoriesWindow {
    logprobs: Vec<(usize, u32, f64)>,
}

#[test]
fn stories260k_is_as_perplexed_as_in_transformers() {
    let test = "stories260k_is_as_perplexed_as_in_transformers";
    let Some(path) = verbatim_tests::data::find(test, "models/stories260K") else { return };
    let golden: Stories =
        verbatim_tests::golden::read(&verbatim_tests::golden::folder().join("stories260k.json"));
    let json = std::fs::read(path.join("tokenizer.json")).expect("a tokenizer");
    let tokenizer = verbatim::text::Tokenizer::new(&json, None).expect("the tokenizer loads");
    let loaded = load_model(&Folder::from(path.as_path()), WeightChoice::default(), &Serial, &NoProgress)
        .expect("stories260K loads");
    let model = loaded.model();
    let how = Run { isa: *paths().last(), pool: &Serial, kv_format: KvFormat::F32, chunk: 64 };
    for text in &golden.texts {
        let Some(file) = verbatim_tests::data::find(test, &format!("text/{}", text.text)) else { return };
        let bytes = std::fs::read(file).expect("the text is readable");
        let whole = std::str::from_utf8(&bytes[..text.bytes]).expect("UTF-8");
        let ids = tokenizer.encode(whole, false).expect("ids");
        assert_eq!(ids.len(), text.ids);
        let mut nll = 0.0;
        let mut worst = 0.0_f64;
        for (window, ids) in text.windows.iter().zip(ids.chunks_exact(golden.window - 1)) {
            let row: Vec<u32> = [golden.bos].iter().chain(ids).copied().collect();
            let mut take = |position: usize, logits: &[f32]| {
                let logprob = logprobs(logits)[row[position + 1] as usize];
                nll -= logprob;
                for (at, id, expected) in &window.logprobs {
                    if *at == position {
                        assert_eq!(*id, row[position + 1]);
                        worst = worst.max((logprob - expected).abs());
                    }
                }
            };
            let wanted = |position: usize| position + 1 < row.len();
            run(&model, &how, &row, &wanted, &mut take, &mut |_| None);
        }
        let perplexity = (nll / text.scored as f64).exp();
        println!("{}: perplexity {perplexity:.5}, transformers {:.5}", text.text, text.perplexity);
        assert!((perplexity / text.perplexity - 1.0).abs() <= 1e-3, "{nll} {}", text.nll);
        assert!(worst <= 1e-4, "{worst:e}");
    }
}
