//! Messages as the built-in model's template renders them.
use serde_json::{Value, json};
use verbatim::text::{ChatTemplate, TemplateInput};

/// The text in which these messages come to the model, up to where it answers.
pub fn rendered(template: &ChatTemplate, messages: Vec<Value>) -> String {
    let input = TemplateInput {
        messages,
        add_generation_prompt: true,
        variables: json!({"bos_token": "<s>"}).as_object().expect("an object").clone(),
        ..TemplateInput::default()
    };
    template.render(&input).expect("it renders")
}

/// A question as a conversation's first message.
pub fn question(text: &str) -> Vec<Value> {
    vec![json!({"role": "user", "content": text})]
}
