//! JSON schemas: whatever a model says under one validates, be the schema random or one of
//! JSON-Schema-Test-Suite's.
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use verbatim::grammar::{Compiler, Constraint, ConstraintState, GrammarSource, Next};
use verbatim::load::NoProgress;
use verbatim::runtime::{
    Ending, EngineHandle, Generation, ModelSource, Options, OwnedRequest, ServedModel, TextEventKind,
};
use verbatim::text::Tokenizer;
use verbatim_core::sampling::SamplingParams;
use verbatim_tests::draws::Draws;
use verbatim_tests::fixture::{Files, tokenizer_json};

/// A tokenizer whose tokens are bytes, so that every text has tokens.
fn tokenizer() -> Arc<Tokenizer> {
    let json = tokenizer_json().to_string();
    Arc::new(Tokenizer::new(json.as_bytes(), None).expect("a tokenizer"))
}

/// Whether a text is all of an output that a constraint allows.
fn allows(constraint: &Arc<Constraint>, text: &str) -> bool {
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    let mut state = ConstraintState::new(constraint);
    state.follow(&ids) && (state.is_accepting() || state.next(&[]) == Next::Complete)
}

#[derive(serde::Deserialize)]
struct Group {
    keyword: String,
    description: String,
    schema: Value,
    tests: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    data: Value,
    valid: bool,
}

/// What the suite calls invalid is never allowed. What it calls valid is, where the order of an
/// object's fields is that of its schema and a number is written in its plain form.
#[test]
fn the_suite_s_invalid_instances_are_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/json-schema/suite.json");
    let groups: Vec<Group> =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the suite")).expect("JSON");
    let compiler = Compiler::new(tokenizer());
    let mut unsupported: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut refused, mut allowed) = (0, 0);
    let (mut missed, mut wrong) = (Vec::new(), Vec::new());
    for Group { keyword, description, schema, tests } in &groups {
        let constraint = match compiler.compile(&GrammarSource::JsonSchema(schema.clone())) {
            Ok(constraint) => constraint,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                *unsupported.entry(keyword).or_default() += 1;
                continue;
            }
        };
        for Case { data, valid } in tests {
            let text = data.to_string();
            match (valid, allows(&constraint, &text)) {
                (false, false) => refused += 1,
                (false, true) => wrong.push(format!("{keyword}: {description}: {schema} allows {text}")),
                (true, true) => allowed += 1,
                (true, false) => missed.push(format!("{keyword}: {schema} refuses {text}")),
            }
        }
    }
    println!(
        "{refused} refused, {allowed} allowed, not supported: {unsupported:?}; missed:\n{}",
        missed.join("\n")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused >= 200 && allowed >= 200, "{refused} refused, {allowed} allowed");
    assert!(5 * missed.len() < allowed, "{missed:?}");
    let unsupported: Vec<&str> = unsupported.into_keys().collect();
    assert!(unsupported.contains(&"not") && unsupported.contains(&"uniqueItems"), "{unsupported:?}");
}

/// A random schema whose documents are short.
fn schema(draws: &mut Draws, depth: usize) -> Value {
    let kind = draws.below(if depth == 0 { 7 } else { 11 });
    match kind {
        0 => json!({"type": "integer", "minimum": -(draws.below(50) as i64), "maximum": draws.below(2000)}),
        1 => json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1 + draws.below(9)}),
        2 => json!({"type": "string", "minLength": draws.below(2), "maxLength": 2 + draws.below(4)}),
        3 => {
            json!({"type": "string", "pattern": (["^[a-c]{1,4}$", "^x+-[0-9]{2}$", "^(é|日)$"][draws.below(3)])})
        }
        4 => json!({"enum": [null, true, "a\"b", 3, {"k": [1]}, []]}),
        5 => json!({"const": ([json!(17), json!("seventeen")][draws.below(2)])}),
        6 => json!({"type": ["boolean", "null"]}),
        7 => json!({"type": "array", "items": schema(draws, depth - 1),
                    "minItems": draws.below(2), "maxItems": 1 + draws.below(3)}),
        8 => json!({"anyOf": [schema(draws, depth - 1), schema(draws, depth - 1)]}),
        9 => json!({"$ref": "#/$defs/leaf"}),
        _ => object(draws, depth - 1),
    }
}

fn object(draws: &mut Draws, depth: usize) -> Value {
    let names = ["id", "name", "größe", "a b", "x/y"];
    let mut properties = Map::new();
    for name in names.iter().take(1 + draws.below(names.len())) {
        properties.insert((*name).to_owned(), schema(draws, depth));
    }
    let required: Vec<&String> = properties.keys().filter(|_| draws.below(3) > 0).collect();
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

#[test]
fn answers_under_random_schemas_validate() {
    let directory = Files::tiny().directory("schemas");
    let options = Options {
        model: ModelSource::Path(directory.path().to_owned()),
        workers: Some(2),
        ..Options::default()
    };
    let model = Arc::new(ServedModel::open(&options, &NoProgress).expect("a model"));
    let (engine, thread) = EngineHandle::start(Arc::clone(&model), 0).expect("an engine");
    let (mut finished, mut cut) = (0, 0);
    for seed in 0..40 {
        let mut draws = Draws::new(seed);
        let mut schema = object(&mut draws, 2);
        schema["$defs"] = json!({"leaf": {"type": "object", "properties": {"on": {"type": "boolean"}},
            "required": ["on"], "additionalProperties": false}});
        let constraint = model.grammars.compile(&GrammarSource::JsonSchema(schema.clone()));
        let constraint = constraint.unwrap_or_else(|error| panic!("{schema} {error}"));
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let params = SamplingParams { temperature: 1.0, seed, ..SamplingParams::GREEDY };
        let request = OwnedRequest {
            constraint: Some(constraint),
            choices: 4,
            stop_ids: vec![257],
            ..OwnedRequest::new(vec![72, 105], params, 300)
        };
        let mut texts = vec![String::new(); 4];
        for event in Generation::start(&engine, vec![request], &[]).expect("started") {
            match event.kind {
                TextEventKind::Delta(delta) => texts[event.choice].push_str(&delta.text),
                TextEventKind::End(Ending::Stop) => {
                    let text = &texts[event.choice];
                    let answer: Value =
                        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
                    assert!(validator.is_valid(&answer), "{schema} does not allow {text}");
                    finished += 1;
                }
                TextEventKind::End(Ending::Length) => cut += 1,
                TextEventKind::End(Ending::Error(error)) => panic!("{schema}: {error}"),
            }
        }
    }
    println!("{finished} finished, {cut} were cut");
    assert!(finished > 100, "{finished} finished, {cut} were cut");
    engine.stop();
    thread.join().expect("the engine ended");
}
