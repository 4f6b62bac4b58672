//! Formats by example, and what holds of all of them whatever a model writes.
use super::part::joined;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn offered() -> Arc<OfferedTools> {
    let tool =
        |name: &str, parameters: Value| OfferedTool { name: name.to_owned(), parameters, strict: false };
    let weather = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "code": {"type": "string"}, "any": {},
    }});
    let other = json!({"type": "object", "properties": {}});
    Arc::new(OfferedTools(vec![tool("get_weather", weather), tool("f-2", other)]))
}

fn format(syntax: ToolSyntax) -> OutputFormat {
    let tools = ToolFormat { syntax, parallel: true, offered: offered() };
    OutputFormat { reasoning: None, tools: Some(tools) }
}

fn read(format: &OutputFormat, pieces: &[&str]) -> Vec<Part> {
    let (mut reader, mut out) = (PartReader::new(format.clone()), Vec::new());
    for piece in pieces {
        reader.push(piece, &mut out);
    }
    reader.finish(&mut out);
    joined(out)
}

fn text(text: &str) -> Part {
    Part::Text(text.to_owned())
}

/// A call with its arguments, as two parts.
fn call(call: usize, name: &str, arguments: &str) -> [Part; 2] {
    let fragment = arguments.to_owned();
    [Part::CallBegins { call, name: name.to_owned() }, Part::Arguments { call, fragment }]
}

/// An answer and its parts, read whole and a character at a time.
#[track_caller]
fn check(format: &OutputFormat, answer: &str, parts: &[Part]) {
    assert_eq!(read(format, &[answer]), parts, "{answer}");
    let single: Vec<String> = answer.chars().map(String::from).collect();
    let single: Vec<&str> = single.iter().map(String::as_str).collect();
    assert_eq!(read(format, &single), parts, "a character at a time: {answer}");
}

#[test]
fn llama_calls_with_an_object() {
    let format = format(ToolSyntax::Llama);
    let one = call(0, "get_weather", r#"{"city": "Paris"}"#);
    check(&format, r#"{"name": "get_weather", "parameters": {"city": "Paris"}}"#, &one);
    check(
        &format,
        "\n<|python_tag|>{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
        &one,
    );
    check(&format, r#"{"parameters": {"city": "Paris"}, "name": "get_weather"}"#, &one);
    check(&format, r#"{"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}"#, &one);
    let two = [one, call(1, "f-2", "{}")].concat();
    check(
        &format,
        r#"{"name": "get_weather", "parameters": {"city": "Paris"}}; {"name": "f-2", "parameters": null}"#,
        &two,
    );
    for prose in [
        r#"{"name": "Ada", "parameters": {}}"#,
        r#"{"name": "get_weather", "age": 3, "parameters": {}}"#,
        r#"{"name": "get_weather"}"#,
        r#"{"name": "get_weather", "parameters": [1]}"#,
        "{",
        "  \n",
        "<|python_tag|>print(1)",
        r#"Say {"name": "get_weather", "parameters": {}}"#,
    ] {
        check(&format, prose, &[text(prose)]);
    }
    let cut = [&call(0, "get_weather", r#"{"city": "#)[..], &[text("Paris}}")]].concat();
    check(&format, r#"{"name": "get_weather", "parameters": {"city": Paris}}"#, &cut);
}

#[test]
fn hermes_calls_between_tags() {
    let format = format(ToolSyntax::Hermes);
    let calls = [
        &[text("I look.")][..],
        &call(0, "get_weather", r#"{"city": "x\ny"}"#),
        &call(1, "unknown.f", r#"{"a":[1,{"b":null}]}"#),
        &call(2, "g", "{}"),
        &[text("\n\nDone")],
    ]
    .concat();
    check(
        &format,
        "I look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"x\ny\"}}\n</tool_call>\n\
         <tool_call>{\"arguments\": {\"a\":[1,{\"b\":null}]}, \"name\": \"unknown.f\", \"x\": 1}</tool_call>\
         <tool_call>{\"name\": \"g\"}</tool_call>\n\nDone",
        &calls,
    );
    let one = call(0, "g", "{}");
    check(&format, "<tool_call>{\"name\": \"g\"}\n", &one);
    check(&format, "<tool_call>{\"name\": \"g\"}\n</tool_c", &one);
    for prose in
        ["<tool_call>", "a <tool_call> b", "<tool_call>{\"name\": 3}</tool_call>", "<tool_call>{}", "x <tool"]
    {
        check(&format, prose, &[text(prose)]);
    }
    let twice = [call(0, "g", "{}"), call(1, "h", "{}")].concat();
    check(&format, "<tool_call>{\"name\": \"g\"}\n{\"name\": \"h\"}</tool_call>", &twice);
}

#[test]
fn qwen_coder_calls_with_tags() {
    let format = format(ToolSyntax::QwenCoder);
    let answer = "<tool_call>\n<function=get_weather>\n<parameter=city>\nSão \"P\"\n\nx\n</parameter>\n\
                  <parameter=days>\n3\n</parameter>\n<parameter=any>\n[1, \"a\"]\n</parameter>\n\
                  <parameter=code>123</parameter>\n<parameter=other>\nplain </b> text\n</parameter>\n\
                  </function>\n</tool_call>";
    let arguments = r#"{"city": "São \"P\"\n\nx", "days": 3, "any": [1, "a"], "code": "123", "other": "plain </b> text"}"#;
    check(&format, answer, &call(0, "get_weather", arguments));
    let calls = [call(0, "f-2", "{}"), call(1, "f-2", r#"{"b": true}"#)].concat();
    check(
        &format,
        "<function=f-2>\n</function>\n<function=f-2><parameter=b>\nTrue\n</parameter></function>\n</tool_call>",
        &calls,
    );
    check(&self::format(ToolSyntax::Hermes), answer, &call(0, "get_weather", arguments));
    for prose in ["<function", "<tool_call><function=a b></function>", "<tool_call></tool_call>"] {
        check(&format, prose, &[text(prose)]);
    }
}

#[test]
fn mistral_calls_behind_a_mark() {
    let format = format(ToolSyntax::Mistral);
    let two = [call(0, "f", r#"{"a": 1}"#), call(1, "g", "{}")].concat();
    check(
        &format,
        r#"[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}, "id": "aB3"}]"#,
        &two,
    );
    check(&format, r#"[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]aB3[ARGS]{}"#, &two);
    check(&format, r#"[TOOL_CALLS]f{"a": 1}g{}"#, &two);
    let cut = [&call(0, "f", r#"{"a": 1}"#)[..], &[text(r#", {"name": "g","#)]].concat();
    check(&format, r#"[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}, {"name": "g", "#, &cut);
    for prose in ["[TOOL_CALLS]", "[TOOL", "[TOOL_CALLS] no calls, sorry", "[TOOL_CALLS]a b{}"] {
        check(&format, prose, &[text(prose)]);
    }
}

#[test]
fn gemma_calls_in_fences() {
    let format = format(ToolSyntax::Gemma);
    let one = call(0, "get_weather", r#"{"city": "Paris", "days": 2}"#);
    check(&format, "```tool_code\nprint(get_weather(city='Paris', days = 2))\n```", &one);
    check(&format, "```tool_code\nget_weather(city=\"Paris\", days=2,)\n```\n", &one);
    check(
        &format,
        "```json\n{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 2}}\n```",
        &one,
    );
    check(&format, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 2}}", &one);
    let two = [call(0, "f-2", "{}"), call(1, "f-2", "{}")].concat();
    check(&format, "```tool_code\nf-2()\nprint(f-2())\n```", &two);
    for prose in [
        "```python\nf()\n```",
        "```json\n{\"a\": 1}\n```",
        "```tool_code\nprint(1)\n```",
        "```tool_code\nprint(print(",
    ] {
        check(&format, prose, &[text(prose)]);
    }
}

#[test]
fn phi_calls_in_a_list() {
    let format = format(ToolSyntax::Phi);
    let two = [call(0, "f", r#"{"a": 1}"#), call(1, "g", "{}")].concat();
    let list = r#"[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]"#;
    check(&format, &format!("<|tool_call|>{list}<|/tool_call|>"), &two);
    check(&format, &format!("functools{list}"), &two);
    check(&format, "functools are fine", &[text("functools are fine")]);
}

#[test]
fn python_calls_in_a_list() {
    let format = format(ToolSyntax::Pythonic);
    let two = [call(0, "get_weather", r#"{"city": "a)\"b", "any": {"x": [1, true]}}"#), call(1, "f-2", "{}")]
        .concat();
    let list = r#"[get_weather(city='a)"b', any={'x': [1, True]}), f-2()]"#;
    check(&format, list, &two);
    check(&format, &format!("<|python_start|>{list}<|python_end|>"), &two);
    for prose in ["[1, 2]", "[get_weather]", "[other(a=1)]", "[get_weather('x')]", "f-2()", "see [f-2()]"] {
        check(&format, prose, &[text(prose)]);
    }
    let cut = [&call(0, "get_weather", r#"{"city": "#)[..], &[text("x)]")]].concat();
    check(&format, "[get_weather(city=x)]", &cut);
}

#[test]
fn only_the_first_call_is_kept_where_one_is_wanted() {
    let mut format = format(ToolSyntax::Hermes);
    format.tools.as_mut().unwrap().parallel = false;
    let answer = "<tool_call>{\"name\": \"g\"}</tool_call><tool_call>{\"name\": \"h\"}</tool_call> x";
    check(&format, answer, &[&call(0, "g", "{}")[..], &[text(" x")]].concat());
    let (mut reader, mut out) = (PartReader::new(format), Vec::new());
    reader.push(answer, &mut out);
    assert_eq!(reader.calls(), 1);
}

#[test]
fn reasoning_stands_before_the_answer() {
    let format = |is_open| {
        let reasoning = Some(ReasoningFormat { syntax: ReasoningSyntax::Think, is_open });
        OutputFormat { reasoning, tools: None }
    };
    let reasoning = |text: &str| Part::Reasoning(text.to_owned());
    let both = [reasoning("Let me\nsee. <b>"), text("Yes. <think>")];
    check(&format(false), "\n<think>\nLet me\nsee. <b>\n</think>\n\nYes. <think>", &both);
    check(&format(true), "\nLet me\nsee. <b>\n</think>\n\nYes. <think>", &both);
    check(&format(false), "<think>\n\n</think>\n\nYes.", &[text("Yes.")]);
    check(&format(false), "Yes. <think>no</think>", &[text("Yes. <think>no</think>")]);
    check(&format(false), " <thin", &[text(" <thin")]);
    check(&format(false), " <thing> ", &[text(" <thing> ")]);
    check(&format(true), "on and on</thi", &[reasoning("on and on</thi")]);
    check(&format(true), "on and on\n", &[reasoning("on and on")]);
    let brackets = ReasoningFormat { syntax: ReasoningSyntax::Brackets, is_open: false };
    let mut format = self::format(ToolSyntax::Mistral);
    format.reasoning = Some(brackets);
    let parts = [&[reasoning("[TOOL_CALLS]f{}")][..], &call(0, "f", "{}")].concat();
    check(&format, "[THINK][TOOL_CALLS]f{}[/THINK][TOOL_CALLS]f{}", &parts);
}

#[test]
fn a_prompt_may_open_the_reasoning() {
    let is_open = |tail| ReasoningSyntax::Think.after(tail).is_open;
    assert!(is_open("<|im_start|>assistant\n<think>\n"));
    assert!(is_open("<think>a</think><think>b"));
    assert!(!is_open("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    assert!(!is_open("<|im_start|>assistant\n"));
}

#[test]
fn formats_are_known_by_name_and_by_template() {
    for syntax in ToolSyntax::ALL {
        assert_eq!(ToolSyntax::from_name(syntax.name()), Some(syntax));
    }
    for syntax in ReasoningSyntax::ALL {
        assert_eq!(ReasoningSyntax::from_name(syntax.name()), Some(syntax));
        assert_eq!(ReasoningSyntax::detect(&format!("{{% if '{}' in x %}}", syntax.marks().1)), Some(syntax));
    }
    assert_eq!(ToolSyntax::from_name("llama3_json"), Some(ToolSyntax::Llama));
    for (template, syntax) in [
        ("{{ '[TOOL_CALLS]' }}", Some(ToolSyntax::Mistral)),
        ("[TOOL_CALLS]f[ARGS]", Some(ToolSyntax::MistralNamed)),
        ("<tool_call>\\n<function=", Some(ToolSyntax::QwenCoder)),
        ("<tool_call>", Some(ToolSyntax::Hermes)),
        ("<|tool_call|>", Some(ToolSyntax::Phi)),
        ("```tool_code", Some(ToolSyntax::Gemma)),
        ("Environment: ipython", Some(ToolSyntax::Llama)),
        ("[func_name1(params_name1=", Some(ToolSyntax::Pythonic)),
        ("{{ messages }}", None),
    ] {
        assert_eq!(ToolSyntax::detect(template), syntax, "{template}");
    }
}

#[test]
fn marks_that_are_special_tokens_are_kept() {
    let mut json = verbatim_tests::fixture::tokenizer_json();
    let mut added = json["added_tokens"].as_array().expect("a list").clone();
    for (id, content, special) in
        [(258, "[TOOL_CALLS]", true), (259, "[ARGS]", true), (260, "<think>", false)]
    {
        let mut token = added[0].clone();
        (token["id"], token["content"], token["special"]) = (json!(id), json!(content), json!(special));
        added.push(token);
    }
    json["added_tokens"] = Value::from(added);
    let tokenizer = crate::text::Tokenizer::new(json.to_string().as_bytes(), None).expect("a tokenizer");
    let mut format = format(ToolSyntax::Mistral);
    format.reasoning = Some(ReasoningFormat { syntax: ReasoningSyntax::Think, is_open: false });
    assert_eq!(format.kept_ids(&tokenizer), [258, 259], "what is no special token is text anyway");
    assert!(OutputFormat::default().kept_ids(&tokenizer).is_empty());
    let grammar = lark::grammar(&format, &ToolChoice::Required, None, &tokenizer).expect("a grammar");
    assert!(
        grammar.contains("calls: <[258]> behind\n") && grammar.contains("(\"<think>\" thought"),
        "{grammar}"
    );
}

#[test]
fn what_never_becomes_a_call_is_not_held_for_ever() {
    let mut reader = PartReader::new(format(ToolSyntax::Hermes));
    let mut out = Vec::new();
    let (mut given, piece) = (0, "x".repeat(1000));
    reader.push("<tool_call>{\"arguments\": {\"a\": \"", &mut out);
    for _ in 0..200 {
        reader.push(&piece, &mut out);
        given += out.drain(..).map(|part| matches!(part, Part::Text(_)) as usize).sum::<usize>();
    }
    assert!(given > 100, "more than 64 KiB come as text");
}

/// Texts that look like calls, whole and in parts.
fn answer() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "<tool_call>",
            "</tool_call>",
            "<|python_tag|>",
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "```tool_code\n",
            "```json\n",
            "```",
            "<|tool_call|>",
            "<|/tool_call|>",
            "functools",
            "<|python_start|>",
            "<|python_end|>",
            "<think>",
            "</think>",
            "<function=",
            "<parameter=",
            "</parameter>",
            "</function>",
            "get_weather",
            "f-2",
            "{\"name\": \"",
            "\"arguments\": {",
            "{\"name\": \"f-2\", \"parameters\": {",
            "city",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            ":",
            "=",
            ",",
            ";",
            " ",
            "\n",
            "\\",
            "\\ud83d",
            "1",
            "-1.5e3",
            "True",
            "null",
            "[get_weather(city=",
            ">",
            "<",
            "print(",
            "\"\"\"",
        ])
        .prop_map(str::to_owned),
        "[a-z日🙂 \n]{1,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A syntax, and whether reasoning is read, and is open.
fn any_format() -> impl Strategy<Value = OutputFormat> {
    (prop::sample::select(ToolSyntax::ALL.to_vec()), any::<bool>(), prop::option::of(any::<bool>())).prop_map(
        |(syntax, parallel, open)| {
            let tools = ToolFormat { syntax, parallel, offered: offered() };
            let reasoning = open.map(|is_open| ReasoningFormat { syntax: ReasoningSyntax::Think, is_open });
            OutputFormat { reasoning, tools: Some(tools) }
        },
    )
}

/// Arguments of a call.
fn arguments() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(Value::from),
        "[ -~\né日🙂]{0,12}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,4}", inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    prop::collection::vec(("[a-z_]{1,6}", value), 0..4)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
}

/// A value as Python writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("'{key}': {}", python(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A call as an object, with its arguments under a key.
fn object(key: &'static str) -> impl Fn(&(&str, Value)) -> String {
    move |(name, arguments)| format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}")
}

/// The calls as a model of this syntax writes them.
fn written(syntax: ToolSyntax, calls: &[(&str, Value)]) -> String {
    let pythonic = |(name, arguments): &(&str, Value)| {
        let map = arguments.as_object().expect("an object");
        let pairs = map.iter().map(|(key, value)| format!("{key}={}", python(value)));
        format!("{name}({})", pairs.collect::<Vec<_>>().join(", "))
    };
    let all = |each: &dyn Fn(&(&str, Value)) -> String, between: &str| {
        calls.iter().map(each).collect::<Vec<_>>().join(between)
    };
    match syntax {
        ToolSyntax::Llama => all(&object("parameters"), "; "),
        ToolSyntax::Hermes => {
            let block =
                |call: &(&str, Value)| format!("<tool_call>\n{}\n</tool_call>", object("arguments")(call));
            all(&block, "\n")
        }
        ToolSyntax::QwenCoder => {
            let block = |(name, arguments): &(&str, Value)| {
                let map = arguments.as_object().expect("an object");
                let parameter =
                    |(key, value): (&String, &Value)| format!("<parameter={key}>\n{value}\n</parameter>\n");
                let parameters: String = map.iter().map(parameter).collect();
                format!("<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>")
            };
            all(&block, "\n")
        }
        ToolSyntax::Mistral => format!("[TOOL_CALLS] [{}]", all(&object("arguments"), ", ")),
        ToolSyntax::MistralNamed => {
            all(&|(name, arguments)| format!("[TOOL_CALLS]{name}[ARGS]{arguments}"), "")
        }
        ToolSyntax::Gemma => format!("```tool_code\n{}\n```", all(&pythonic, "\n")),
        ToolSyntax::Phi => format!("<|tool_call|>[{}]<|/tool_call|>", all(&object("arguments"), ", ")),
        ToolSyntax::Pythonic => format!("[{}]", all(&pythonic, ", ")),
    }
}

/// Checks the order of parts, and that a call has arguments.
fn check_valid(parts: &[Part], answer: &str) {
    let mut calls: Vec<String> = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) | Part::Reasoning(text) => assert!(!text.is_empty()),
            Part::CallBegins { call, name } => {
                assert_eq!(*call, calls.len(), "{answer}");
                assert!(machine::is_name(name), "{answer}");
                calls.push(String::new());
            }
            Part::Arguments { call, fragment } => {
                assert_eq!(*call + 1, calls.len(), "{answer}");
                assert!(!fragment.is_empty());
                calls[*call].push_str(fragment);
            }
        }
    }
    assert!(calls.iter().all(|arguments| arguments.starts_with('{')), "{answer}: {calls:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_cut_anywhere_gives_the_same_valid_parts(
        format in any_format(), answer in answer(), cuts in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let whole = read(&format, &[&answer]);
        check_valid(&whole, &answer);
        let chars: Vec<char> = answer.chars().collect();
        let (mut pieces, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            if at >= chars.len() {
                break;
            }
            let end = chars.len().min(at + cut);
            pieces.push(chars[at..end].iter().collect::<String>());
            at = end;
        }
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(read(&format, &pieces), whole);
    }

    #[test]
    fn text_without_calls_is_all_there(format in any_format(), answer in answer()) {
        let format = OutputFormat { reasoning: None, ..format };
        let parts = read(&format, &[&answer]);
        if !parts.iter().any(|part| matches!(part, Part::CallBegins { .. })) {
            let expected = if answer.is_empty() { vec![] } else { vec![text(&answer)] };
            prop_assert_eq!(parts, expected);
        }
    }

    #[test]
    fn calls_come_back_as_they_were_written(
        syntax in prop::sample::select(ToolSyntax::ALL.to_vec()),
        calls in prop::collection::vec((prop::sample::select(vec!["get_weather", "f-2"]), arguments()), 1..4),
        cut in 1_usize..20,
    ) {
        let answer = written(syntax, &calls);
        let chars: Vec<char> = answer.chars().collect();
        let pieces: Vec<String> = chars.chunks(cut).map(|chunk| chunk.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let parts = read(&format(syntax), &pieces);
        prop_assert_eq!(parts.len(), 2 * calls.len(), "{}: {:?}", answer, parts);
        for (i, (name, arguments)) in calls.iter().enumerate() {
            prop_assert_eq!(&parts[2 * i], &Part::CallBegins { call: i, name: (*name).to_owned() });
            let Part::Arguments { call, fragment } = &parts[2 * i + 1] else { panic!("arguments") };
            let read: Value = serde_json::from_str(fragment).expect("JSON");
            prop_assert_eq!((*call, &read), (i, arguments), "{}", answer);
        }
    }
}
