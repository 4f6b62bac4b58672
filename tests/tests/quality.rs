//! How far a weight format takes a model from f32: the mean Kullback–Leibler divergence KL(f32 ‖ format) of the next token's
//! distribution over a text that is fed, not generated.
use serde::Deserialize;
use verbatim::load::{Folder, NoProgress, WeightChoice, builtin, load_model};
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::isa::Isa;
use verbatim_core::pool::Serial;
use verbatim_tests::golden::{folder, read};
use verbatim_tests::runner::{Run, logprobs, run};

/// Log-probabilities of every position of every text.
fn distributions(
    model: &Folder,
    format: WeightFormat,
    kv_format: KvFormat,
    texts: &[Vec<u32>],
) -> Vec<Vec<f64>> {
    let loaded = load_model(model, WeightChoice::all(format), &Serial, &NoProgress).expect("it loads");
    let how = Run { isa: Isa::detect(), pool: &Serial, kv_format, chunk: 32 };
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
    let exact = distributions(model, WeightFormat::F32, KvFormat::F32, texts);
    let rounded = distributions(model, format, KvFormat::F32, texts);
    let of = |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    exact.iter().zip(&rounded).map(of).sum::<f64>() / exact.len() as f64
}

#[derive(Deserialize)]
struct Case {
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
}

#[test]
fn the_built_in_model_keeps_its_distribution() {
    let cases: Vec<Case> = read(&folder().join("demo.json"));
    let texts: Vec<Vec<u32>> = cases.into_iter().map(|case| [case.prompt_ids, case.ids].concat()).collect();
    for (format, most) in [(WeightFormat::Bf16, 2.5e-3), (WeightFormat::Int8, 2.5e-3)] {
        let kl = divergence(&builtin::folder(), format, &texts);
        println!("built-in model: KL(f32 || {}) = {kl:.2e}", format.name());
        assert!((0.0..=most).contains(&kl), "{}: {kl:e}", format.name());
    }
}

#[test]
fn stories260k_keeps_its_distribution() {
    let test = "stories260k_keeps_its_distribution";
    let Some(path) = verbatim_tests::data::find(test, "models/stories260K") else { return };
    let Some(text) = verbatim_tests::data::find(test, "text/tinystories_sample.txt") else { return };
    let json = std::fs::read(path.join("tokenizer.json")).expect("a tokenizer");
    let tokenizer = verbatim::text::Tokenizer::new(&json, None).expect("the tokenizer loads");
    let text = std::fs::read_to_string(text).expect("UTF-8");
    let text: String = text.chars().take(3600).collect();
    let ids = tokenizer.encode(&text, false).expect("ids");
    let texts: Vec<Vec<u32>> = ids.chunks(255).map(|ids| [&[1], ids].concat()).collect();
    let kl = divergence(&Folder::from(path.as_path()), WeightFormat::Int8, &texts);
    println!("stories260K: KL(f32 || int8) = {kl:.2e}");
    assert!((0.0..=2.5e-3).contains(&kl), "{kl:e}");
}
