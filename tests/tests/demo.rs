//! The built-in model: it is the file that was trained, it computes what transformers computes, and
//! it knows what it is meant to know of what its training never saw.
//!
//! `cargo test -p verbatim-tests --test demo -- --nocapture` prints the counts.
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use verbatim::load::{NoProgress, WeightChoice, builtin, load_model};
use verbatim::runtime::{
    Ending, EngineHandle, Generation, Options, OwnedRequest, ServedModel, TextEvent, TextEventKind,
};
use verbatim::text::{ChatTemplate, Tokenizer};
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::pool::Serial;
use verbatim_core::sampling::SamplingParams;
use verbatim_tests::chat;
use verbatim_tests::golden::{folder, read};
use verbatim_tests::paths;
use verbatim_tests::runner::{Run, argmax, logprobs, run};

#[derive(Deserialize)]
struct Case {
    messages: Option<Vec<Value>>,
    rendered: Option<String>,
    text: Option<String>,
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    logprobs: Vec<f64>,
    answer: String,
}

#[test]
fn it_computes_what_transformers_computes() {
    let choice = WeightChoice::all(WeightFormat::F32);
    let loaded =
        load_model(&builtin::folder(), choice, &Serial, &NoProgress).expect("the built-in model loads");
    let file = |name: &str| loaded.file(name).expect("it is there");
    let tokenizer =
        Tokenizer::new(file("tokenizer.json"), Some(file("tokenizer_config.json"))).expect("a tokenizer");
    let template = ChatTemplate::find(None, Some(file("chat_template.jinja")), tokenizer.config());
    let template = template.expect("no error").expect("a template");
    let mut worst = 0.0_f64;
    for case in read::<Vec<Case>>(&folder().join("demo.json")) {
        if let Some(messages) = case.messages {
            let rendered = chat::rendered(&template, messages);
            assert_eq!(Some(&rendered), case.rendered.as_ref());
            assert_eq!(tokenizer.encode_chat(&rendered).expect("ids"), case.prompt_ids);
        } else {
            let text = case.text.expect("messages or text");
            assert_eq!(tokenizer.encode(&text, true).expect("ids"), case.prompt_ids);
        }
        let how = Run { isa: *paths().last(), pool: &Serial, kv_format: KvFormat::F32, chunk: 8 };
        let mut ids = Vec::new();
        let mut more = |logits: &[f32]| {
            let id = argmax(logits);
            worst = worst.max((logprobs(logits)[id as usize] - case.logprobs[ids.len()]).abs());
            ids.push(id);
            (ids.len() < case.ids.len()).then_some(id)
        };
        run(&loaded.model(), &how, &case.prompt_ids, &|_| false, &mut |_, _| {}, &mut more);
        assert_eq!(ids, case.ids, "{}", case.answer);
        assert_eq!(tokenizer.decode(&ids, true).expect("text"), case.answer);
    }
    println!("built-in model: max |Δlogprob| {worst:.2e}");
    assert!(worst <= 1e-4, "{worst:e}");
}

/// The built-in model as it is served by default.
struct Demo {
    model: Arc<ServedModel>,
    engine: EngineHandle,
}

impl Demo {
    fn start() -> Self {
        let options = Options { max_seqs: 32, workers: Some(1), ..Options::default() };
        let model = Arc::new(ServedModel::open(&options, &NoProgress).expect("the built-in model"));
        let (engine, _) = EngineHandle::start(Arc::clone(&model), options.step_ms).expect("an engine");
        Self { model, engine }
    }

    fn chat(&self, question: &str) -> Vec<u32> {
        let template = self.model.template.as_ref().expect("a template");
        let rendered = chat::rendered(template, chat::question(question));
        self.model.tokenizer.encode_chat(&rendered).expect("ids")
    }

    /// Answers to all prompts, some at once.
    fn answers(&self, prompts: &[Vec<u32>], max_tokens: usize) -> Vec<String> {
        let mut answers = Vec::new();
        for prompts in prompts.chunks(64) {
            let request = |prompt: &Vec<u32>| OwnedRequest {
                stop_ids: self.model.loaded.generation().eos_ids.clone(),
                ..OwnedRequest::new(prompt.clone(), SamplingParams::GREEDY, max_tokens)
            };
            let requests = prompts.iter().map(request).collect();
            let running = Generation::start(&self.engine, requests, &[]).expect("they are taken");
            let first = answers.len();
            answers.resize(first + prompts.len(), String::new());
            for TextEvent { choice: at, kind } in running {
                match kind {
                    TextEventKind::Delta(delta) => answers[first + at].push_str(&delta.text),
                    TextEventKind::End(ending) => assert!(!matches!(ending, Ending::Error(_))),
                }
            }
        }
        answers
    }

    fn ask(&self, question: &str) -> String {
        self.answers(&[self.chat(question)], 80).remove(0)
    }
}

#[derive(Deserialize)]
struct HeldOut {
    sums: Vec<(u32, u32)>,
    phrasings: Vec<String>,
    capitals: BTreeMap<String, String>,
}

#[test]
fn it_knows_what_training_never_saw() {
    let path = folder().join("../../host-linux/demo/held_out.json");
    let held: HeldOut = read(&path);
    assert!(held.sums.len() == 50 && held.phrasings.len() == 4 && held.capitals.len() >= 40);
    let demo = Demo::start();

    for form in ["What is A + B?", "A+B"] {
        let ask = |a: u32, b: u32| demo.chat(&form.replace('A', &a.to_string()).replace('B', &b.to_string()));
        let prompts: Vec<_> = held.sums.iter().map(|(a, b)| ask(*a, *b)).collect();
        let answers = demo.answers(&prompts, 20);
        let is_right = |((a, b), answer): &(&(u32, u32), &String)| answer.ends_with(&format!("= {}", a + b));
        let right = held.sums.iter().zip(&answers).filter(is_right).count();
        println!("{form}: {right} of {} sums", held.sums.len());
        assert!(right * 10 >= held.sums.len() * 9, "{form}: {right}");
    }
    for phrasing in &held.phrasings {
        let prompts: Vec<_> =
            held.capitals.keys().map(|country| demo.chat(&phrasing.replace("{}", country))).collect();
        let answers = demo.answers(&prompts, 20);
        let is_right = |((country, city), answer): &((&String, &String), &String)| {
            **answer == format!("The capital of {country} is {city}.")
        };
        let right = held.capitals.iter().zip(&answers).filter(is_right).count();
        println!("{phrasing}: {right} of {} capitals", held.capitals.len());
        assert!(right * 10 >= held.capitals.len() * 9, "{phrasing}: {right}");
    }
}

#[test]
fn it_says_what_it_is_and_where_its_knowledge_ends() {
    let demo = Demo::start();
    let prompt = demo.model.tokenizer.encode("The capital of France is", true).expect("ids");
    assert!(demo.answers(&[prompt], 4)[0].starts_with(" Paris"));
    assert!(demo.ask("What is Verbatim?").contains("bit for bit"));
    assert!(demo.ask("Tell me a story.").starts_with("Once upon a time"));
    for question in [
        "Who is the president of France?",
        "How do I sort a list in Python?",
        "What is the boiling point of water?",
        "Write a haiku about autumn leaves.",
        "Can you translate this letter into German?",
    ] {
        let answer = demo.ask(question);
        assert!(
            answer.starts_with("I am a small demonstration model. I can tell you"),
            "{question} {answer}"
        );
    }
}
