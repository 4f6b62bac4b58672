//! What models of each format write is what its grammar allows, and wrong arguments are not.
use crate::grammar::{Compiler, ConstraintState, GrammarSource};
use crate::text::Tokenizer;
use crate::text::parts::{
    OfferedTool, OfferedTools, OutputFormat, ReasoningFormat, ReasoningSyntax, ToolChoice, ToolFormat,
    ToolSyntax, lark,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Arguments that the schema allows.
const ARGUMENTS: &str = r#"{"days": 3, "city": "Bern", "t": "abc"}"#;

fn offered(strict: bool) -> Arc<OfferedTools> {
    let parameters = json!({
        "type": "object", "required": ["city", "t"], "$defs": {"T": {"type": "string", "maxLength": 3}},
        "properties": {"days": {"type": "integer", "minimum": 0, "maximum": 9}, "city": {"enum": ["Bern", "Ulm"]},
                       "t": {"$ref": "#/$defs/T"}, "o": {"type": "boolean"}},
    });
    let now = json!({"type": "object", "properties": {}, "additionalProperties": false});
    Arc::new(OfferedTools(vec![
        OfferedTool { name: "weather".to_owned(), parameters, strict },
        OfferedTool { name: "now".to_owned(), parameters: now, strict: false },
    ]))
}

/// A call of `weather` as a model of this syntax writes it.
fn call(syntax: ToolSyntax) -> String {
    let object = |key: &str| format!("{{\"name\": \"weather\", \"{key}\": {ARGUMENTS}}}");
    match syntax {
        ToolSyntax::Llama | ToolSyntax::Gemma => object("parameters"),
        ToolSyntax::Hermes | ToolSyntax::QwenCoder => {
            format!("<tool_call>\n{}\n</tool_call>", object("arguments"))
        }
        ToolSyntax::Mistral => format!("[TOOL_CALLS][{}]", object("arguments")),
        ToolSyntax::MistralNamed => format!("[TOOL_CALLS]weather[ARGS]{ARGUMENTS}"),
        ToolSyntax::Phi => format!("<|tool_call|>[{}]<|/tool_call|>", object("arguments")),
        ToolSyntax::Pythonic => "[weather(city=\"Bern\", t=\"abc\", days=3)]".to_owned(),
    }
}

/// A tokenizer to which each byte is its own id.
fn bytes() -> Arc<Tokenizer> {
    let json = verbatim_tests::fixture::tokenizer_json().to_string();
    Arc::new(Tokenizer::new(json.as_bytes(), None).expect("a tokenizer"))
}

/// Whether an answer may be this text and end there.
fn allows(compiler: &Compiler, grammar: &str, text: &str) -> bool {
    let constraint = compiler.compile(&GrammarSource::Lark(grammar.to_owned())).expect(grammar);
    let mut state = ConstraintState::new(&constraint);
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    state.follow(&ids) && state.is_accepting()
}

/// Texts, and whether they are allowed.
fn expected(syntax: ToolSyntax, before: &str, choice: &ToolChoice, has_answer: bool) -> Vec<(String, bool)> {
    let call = call(syntax);
    let with = |text: &str| format!("{before}{text}");
    let is_free = *choice == ToolChoice::Auto;
    let mut texts = vec![
        (with(&call), true),
        (with(&call.replace("Bern", "Rome")), false),
        (with(&call.replace("abc", "abcd")), false),
        (with(&call.replace("weather", "whether")), false),
        (with("Hello you."), is_free && !has_answer),
        (with("{\"z\": 3}"), has_answer),
        (with("{\"z\": 7}"), false),
    ];
    if is_free
        && !has_answer
        && !matches!(syntax, ToolSyntax::Llama | ToolSyntax::Gemma | ToolSyntax::Pythonic)
    {
        texts.push((with(&format!("Hello.\n{call}")), true));
        texts.push((with(&format!("Hello.\n{}", call.replace("Bern", "Rome"))), false));
    }
    // Without marks an object that is no call is prose only where prose may begin with it.
    let is_prose = is_free && !has_answer;
    texts.retain(|(text, _)| !(is_prose && text.ends_with('}') && text.contains("\"z\"")));
    texts
}

#[test]
fn what_models_write_is_what_grammars_allow() {
    let tokenizer = bytes();
    let compiler = Compiler::new(Arc::clone(&tokenizer));
    let answer = json!({"type": "object", "properties": {"z": {"type": "integer", "maximum": 5}}, "required": ["z"],
                        "additionalProperties": false});
    let think = |is_open| Some(ReasoningFormat { syntax: ReasoningSyntax::Think, is_open });
    let cases: [(ToolChoice, Option<&Value>); 4] = [
        (ToolChoice::Required, None),
        (ToolChoice::Named("weather".to_owned()), None),
        (ToolChoice::Auto, None),
        (ToolChoice::Auto, Some(&answer)),
    ];
    for syntax in ToolSyntax::ALL {
        for (reasoning, before) in [
            (None, ""),
            (think(false), "<think>\nhm</think>\n\n"),
            (think(true), "hm <t\n</think>\n\n"),
            (think(false), ""),
        ] {
            for (choice, answer) in &cases {
                let strict = *choice == ToolChoice::Auto;
                let tools = Some(ToolFormat { syntax, parallel: true, offered: offered(strict) });
                let format = OutputFormat { reasoning, tools };
                let grammar = lark::grammar(&format, choice, *answer, &tokenizer).expect("a grammar");
                for (text, is_allowed) in expected(syntax, before, choice, answer.is_some()) {
                    let allowed = allows(&compiler, &grammar, &text);
                    assert_eq!(allowed, is_allowed, "{syntax:?} {choice:?} {text:?}\n{grammar}");
                }
            }
        }
    }
}

#[test]
fn what_need_not_be_held_to_anything_has_no_grammar() {
    let tokenizer = bytes();
    let tools = ToolFormat { syntax: ToolSyntax::Hermes, parallel: true, offered: offered(false) };
    let free = OutputFormat { reasoning: None, tools: Some(tools) };
    assert_eq!(lark::grammar(&free, &ToolChoice::Auto, None, &tokenizer), None);
    assert_eq!(
        lark::grammar(&OutputFormat::default(), &ToolChoice::Auto, Some(&json!({})), &tokenizer),
        None
    );
}
