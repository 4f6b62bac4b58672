//! Conversations with calls, reasoning and a message to go on with become the prompts that
//! transformers makes of them.
use serde_json::{Map, Value};
use verbatim::text::{ChatEncoder, ChatTemplate, Conversation, Tokenizer};
use verbatim_tests::{data, golden};

#[test]
fn conversations_are_rendered_as_transformers_renders_them() {
    let test = "conversations_are_rendered_as_transformers_renders_them";
    let Some(configs) = data::find(test, "models/configs") else { return };
    // The templates name what they need of a tokenizer; that of another model knows no more.
    let json = std::fs::read(configs.join("SmolLM2-135M-Instruct/tokenizer.json")).expect("a tokenizer");
    let tokenizer = Tokenizer::new(&json, None).expect("a tokenizer");
    let golden: Value = golden::read(&golden::folder().join("conversations.json"));
    let cases = golden["cases"].as_array().expect("cases");
    let tools = golden["tools"].as_array().expect("tools");
    for case in cases {
        let sent = case["conversation"].as_str().expect("a name");
        let messages = golden["conversations"][sent].as_array().expect("messages");
        let folder = configs.join(case["template"].as_str().expect("a name"));
        let jinja = std::fs::read(folder.join("chat_template.jinja")).ok();
        let config = std::fs::read(folder.join("tokenizer_config.json")).ok();
        let config: Value = config.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).expect("JSON"));
        let template = ChatTemplate::find(None, jinja.as_deref(), &config).expect("compiles");
        let encoder = ChatEncoder::new(&tokenizer, template.as_ref()).expect("a template");
        let flag = |name: &str| case["kwargs"][name].as_bool().unwrap_or_default();
        let mut variables: Map<String, Value> = case["tokens"].as_object().expect("tokens").clone();
        variables.extend(case["kwargs"].as_object().expect("an object").clone());
        let got = encoder.render(&Conversation {
            tools: if case["tools"] == true { tools } else { &[] },
            variables: Some(&variables),
            add_generation_prompt: flag("add_generation_prompt"),
            continue_final_message: flag("continue_final_message"),
            ..Conversation::new(messages)
        });
        let name = format!("{}: {sent}", case["template"]);
        match (case["rendered"].as_str(), got) {
            (Some(expected), Ok(got)) => assert_eq!(Tokenizer::without_marks(&got.text), expected, "{name}"),
            (None, Err(_)) => {}
            (expected, got) => panic!("{name}: expected {expected:?}, found {got:?}"),
        }
    }
    assert!(cases.len() >= 50, "{}", cases.len());
}
