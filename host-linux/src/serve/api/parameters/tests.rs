//! The table is whole and true: every row refuses what its schema does not allow, takes what is
//! harmless, and no name of a peer that would change an answer is passed over.
use super::check::fits;
use super::parameter::MANY;
use super::*;
use crate::load::NoProgress;
use crate::runtime::{Options, ServedModel};
use crate::serve::api::answer::reading;
use crate::serve::api::chat::Chat;
use crate::serve::api::completions::Completions;
use crate::serve::api::dialect::Dialect;
use crate::serve::api::limits::tests::BOUNDS;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => panic!("an object"),
    }
}

/// The check of a body at an endpoint.
fn check(endpoint: Endpoints, body: Value) -> Result<Vec<String>, ApiError> {
    checked(endpoint, &object(body), false)
}

fn with(name: &str, value: &Value) -> Value {
    Value::Object([(name.to_owned(), value.clone())].into_iter().collect())
}

/// Each endpoint with each row that is about it.
fn cells() -> impl Iterator<Item = (Endpoints, &'static str, &'static Parameter)> {
    ENDPOINTS.iter().flat_map(|&(bit, path)| rows_of(bit).map(move |row| (bit, path, row)))
}

/// Values of every JSON type, and near the bounds of a schema.
fn candidates(schema: &Schema) -> Vec<Value> {
    let mut all = vec![
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!([]),
        json!(["x"]),
        json!([""]),
        json!([1]),
        json!([-1]),
        json!([1.5]),
        json!([[1]]),
        json!([[-1]]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({"x": "y"}),
        json!({"1": 1}),
    ];
    match *schema {
        Schema::Integer(min, max) => {
            all.extend([min, max].map(|x| json!(x)));
            all.extend([min.checked_sub(1), max.checked_add(1)].into_iter().flatten().map(|x| json!(x)));
        }
        Schema::Number(min, max) | Schema::Above(min, max) => {
            all.extend([min, max, min - 1.0, max + 1.0].map(|x| json!(x)));
        }
        Schema::Choice(words) => all.extend(words.iter().map(|word| json!(word))),
        Schema::List(of, min, max) => {
            let one = candidates(of).into_iter().find(|value| fits(of, value));
            let lists = [min, max].into_iter().filter(|count| *count < 50);
            all.extend(one.iter().flat_map(|one| lists.clone().map(|count| json!(vec![one.clone(); count]))));
            all.extend(candidates(of).into_iter().map(|value| json!([value])));
        }
        Schema::OneOf(schemas) => all.extend(schemas.iter().flat_map(candidates)),
        _ => {}
    }
    all
}

#[test]
fn a_name_has_one_row_for_an_endpoint_and_a_doc() {
    let paths: BTreeSet<_> = ENDPOINTS.iter().map(|(_, path)| path).collect();
    assert_eq!(paths.len(), ENDPOINTS.len());
    let mut seen = BTreeSet::new();
    for (bit, path, row) in cells() {
        assert!(seen.insert((bit, row.name)), "{} has two rows at {path}", row.name);
        assert!(std::ptr::eq(find(bit, row.name).expect("it is found"), row));
    }
    for row in TABLES.iter().copied().flatten() {
        let default = row.default.map(Plain::value);
        assert!(default.is_none_or(|default| fits(&row.schema, &default)), "the default of {}", row.name);
        assert!(row.doc.ends_with('.') && row.doc.len() < 250, "the doc of {}", row.name);
        assert!(ENDPOINTS.iter().any(|(bit, _)| row.endpoints & bit != 0), "{} is nowhere", row.name);
    }
}

/// No value of any row passes against its schema, and no harmless one is refused.
#[test]
fn every_row_refuses_what_its_schema_does_not_allow() {
    let mut refused = 0;
    for (bit, path, row) in cells() {
        let refuse = |value: &Value| check(bit, with(row.name, value)).expect_err(row.name);
        let plain: &[Plain] = match row.kind {
            Kind::RefusedUnless(plain) => plain,
            _ => &[],
        };
        for value in plain.iter().map(|plain| plain.value()).chain([Value::Null]) {
            assert_eq!(
                check(bit, with(row.name, &value)),
                Ok(Vec::new()),
                "{} = {value} at {path}",
                row.name
            );
        }
        for value in candidates(&row.schema) {
            let is_taken = match row.kind {
                Kind::Used if bit & HAVE_READERS != 0 => continue,
                Kind::Used | Kind::WithoutEffect => fits(&row.schema, &value),
                Kind::RefusedUnless(_) => plain.iter().any(|plain| plain.is(&value)),
            };
            if is_taken {
                let ignored = check(bit, with(row.name, &value));
                let is_told = ignored.as_ref().is_ok_and(|names| names.iter().any(|at| at == row.name));
                assert!(ignored.is_ok(), "{} = {value} at {path}: {ignored:?}", row.name);
                assert_eq!(is_told, matches!(row.kind, Kind::WithoutEffect), "{} at {path}", row.name);
                continue;
            }
            let error = refuse(&value);
            assert_eq!(error.status, 400);
            let param = error.param.expect("a parameter is blamed");
            assert!(param.split(['.', '[']).next() == Some(row.name), "{param} for {} at {path}", row.name);
            assert!(error.message.starts_with(row.name), "{}", error.message);
            refused += 1;
        }
    }
    assert!(refused > 10_000, "{refused}");
}

/// The endpoints whose readers check, with a body to which a parameter is added.
fn readers() -> [(Endpoints, &'static dyn Dialect, Value); 2] {
    [
        (COMPLETIONS, &Completions, json!({"prompt": [5, 6, 7], "max_tokens": 4})),
        (CHAT, &Chat, json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 4})),
    ]
}

fn demo() -> ServedModel {
    let options = Options { workers: Some(1), ..Options::default() };
    ServedModel::open(&options, &NoProgress).expect("the built-in model")
}

/// What the endpoint's reader says of a body with a parameter more.
fn read(
    dialect: &dyn Dialect,
    base: &Value,
    name: &str,
    value: &Value,
    model: &ServedModel,
) -> Result<(), ApiError> {
    let mut body = base.clone();
    body[name] = value.clone();
    // What depends on another parameter gets it.
    match name {
        "stream_options" => body["stream"] = json!(true),
        "top_logprobs" => body["logprobs"] = json!(true),
        _ => {}
    }
    reading::parse(dialect, body.to_string().as_bytes(), model, &mut Vec::new()).map(drop)
}

#[test]
fn readers_refuse_what_the_schema_of_a_used_parameter_does_not_allow() {
    let model = demo();
    for (bit, dialect, base) in readers() {
        for row in rows_of(bit).filter(|row| matches!(row.kind, Kind::Used)) {
            for value in candidates(&row.schema) {
                let result = read(dialect, &base, row.name, &value, &model);
                let Err(error) = result else {
                    assert!(fits(&row.schema, &value), "{} = {value} is taken", row.name);
                    continue;
                };
                assert!(matches!(error.status, 400 | 404 | 409), "{} = {value}: {error:?}", row.name);
                if !fits(&row.schema, &value) {
                    let param = error.param.as_deref().unwrap_or_default();
                    assert_eq!(param.split(['.', '[']).next(), Some(row.name), "{value}: {error:?}");
                }
            }
        }
    }
}

/// What a reader makes of a body is the same with each default in it, be it the model's own or not.
#[test]
fn a_default_is_what_holds_without_the_parameter() {
    let model = demo();
    let own = model.loaded.generation();
    assert_eq!(own.temperature, Some(0.0), "the built-in model has a default of its own");
    for (bit, dialect, mut base) in readers() {
        base["seed"] = json!(1);
        if bit == CHAT {
            base["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        }
        let parsed = |body: &Value| {
            let parsed = reading::parse(dialect, body.to_string().as_bytes(), &model, &mut Vec::new());
            format!("{:?}", parsed.expect("a good body"))
        };
        let (plain, schema) = (parsed(&base), body_schema(bit, own));
        let properties = schema["properties"].as_object().expect("an object");
        let with_default = || properties.iter().filter(|(_, schema)| schema.get("default").is_some());
        assert!(with_default().count() > 12);
        for (name, schema) in with_default() {
            let mut body = base.clone();
            body[name] = schema["default"].clone();
            assert_eq!(parsed(&body), plain, "{name} = {}", schema["default"]);
        }
        base["temperature"] = json!(0.5);
        assert_ne!(parsed(&base), plain, "what is read shows");
    }
}

/// Any JSON of a few levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|x| json!(x)),
        any::<i64>().prop_map(|x| json!(x)),
        (-4i64..40).prop_map(|x| json!(x)),
        any::<f64>().prop_map(|x| json!(x)),
        ".{0,12}".prop_map(|x| json!(x)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names = prop_oneof![
            "[a-z_]{1,8}",
            Just("type".to_owned()),
            Just("function".to_owned()),
            Just("name".to_owned()),
            Just("json_schema".to_owned()),
            Just("schema".to_owned()),
            Just("include_usage".to_owned()),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|x| json!(x)),
            prop::collection::vec((names, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn no_value_of_any_parameter_is_a_fault_of_the_server() {
    let model = demo();
    let cells: Vec<_> = cells().collect();
    let readers = readers();
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(at in 0..cells.len(), value in any_json())| {
        let (bit, _, row) = cells[at];
        let reader = readers.iter().find(|(other, ..)| *other == bit);
        let result = match reader {
            Some((_, dialect, base)) => read(*dialect, base, row.name, &value, &model),
            None => check(bit, with(row.name, &value)).map(drop),
        };
        if let Err(error) = result {
            prop_assert!(matches!(error.status, 400 | 404 | 409), "{} = {value}: {error:?}", row.name);
            prop_assert!(error.param.is_some() && error.message.chars().count() <= 400, "{error:?}");
        }
    });
}

#[test]
fn names_are_refused_ignored_or_known() {
    let body = json!({"prompt": "a", "x": 1, "echo": false, "y": null, "user": "z", "speed": "a"});
    assert_eq!(check(COMPLETIONS, body).unwrap(), ["x", "y", "user", "speed"]);
    let error = check(COMPLETIONS, json!({"x": 1, "suffix": "b"})).unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("suffix")));
    let expected = "suffix = \"b\" is not supported, only \"\" is. Text behind what is generated.";
    assert_eq!(error.message, expected);
}

#[test]
fn names_inside_objects_are_told_too() {
    let options = json!({"include_usage": true, "x": 1, "include_obfuscation": false});
    let told = check(CHAT, json!({"stream": true, "stream_options": options})).unwrap();
    assert_eq!(told, ["stream_options.x", "stream_options.include_obfuscation"]);
    let tool = json!({"type": "function", "name": "f", "description": "g", "defer_loading": true});
    let error = check(RESPONSES, json!({"tools": [{"type": "function", "name": "f", "z": 1}, tool]}));
    assert_eq!(error.unwrap_err().param.as_deref(), Some("tools[1].defer_loading"));
    let error = check(RESPONSES, json!({"tools": [{"type": "web_search"}]})).unwrap_err();
    assert_eq!(error.message, "tools[0].type must be \"function\", found \"web_search\"");
    let error = check(OLLAMA_CHAT, json!({"options": {"seed": 1, "mirostat": 2}})).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("options.mirostat"));
}

#[test]
fn a_strict_server_refuses_unknown_names_alone() {
    let strict = |body: Value| checked(COMPLETIONS, &object(body), true);
    assert_eq!(strict(json!({"prompt": "a", "user": "b"})).unwrap(), ["user"]);
    for (body, param) in [
        (json!({"prompt": "a", "sesame": 1}), "sesame"),
        (json!({"prompt": "a", "sesame": null}), "sesame"),
        (json!({"prompt": "a", "speed": "b"}), "speed"),
        (json!({"prompt": "a", "stream_options": {"x": 1}}), "stream_options.x"),
    ] {
        let error = strict(body).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
        assert!(
            error.message.contains(param) && error.message.contains("option strict"),
            "{}",
            error.message
        );
    }
}

#[test]
fn what_clients_make_up_is_kept_in_part() {
    let long = "z".repeat(1 << 20);
    let names: Map<String, Value> =
        (0..1000).map(|i| (format!("{i}\n{}", if i < 8 { &long } else { "" }), Value::Null)).collect();
    let kept = checked(CHAT, &names, false).unwrap();
    assert_eq!(kept.len(), 100);
    assert!(kept[0].starts_with("0\\nzzz") && kept[0].ends_with("z… (1048578 bytes)"), "{}", kept[0]);
    assert!(kept.iter().all(|name| name.chars().count() <= 64 && name.capacity() < 1000));
    let error = check(CHAT, json!({"suffix": long})).unwrap_err();
    assert!(error.message.chars().count() <= 400, "{}", error.message);
    let inner: Map<String, Value> = (0..1000).map(|i| (format!("{long}{i}"), json!(1))).collect();
    let kept = check(CHAT, json!({"stream_options": inner})).unwrap();
    assert!(kept.len() == 100 && kept.iter().all(|name| name.chars().count() <= 64));
}

#[test]
fn a_body_is_read_and_checked_at_once() {
    let (object, ignored) = checked_object(CHAT, br#"{"x": 1, "n": 2}"#, &BOUNDS, false).unwrap();
    assert_eq!((object.len(), ignored), (2, vec!["x".to_owned()]));
    assert!(checked_object(CHAT, b"[]", &BOUNDS, false).is_err());
    assert_eq!(MANY, usize::MAX);
}

#[test]
fn schemas_are_told_in_words_and_as_json_schema() {
    let schema = Schema::OneOf(&[Schema::Nonempty, Schema::List(&Schema::Integer(0, 9), 1, 4)]);
    assert_eq!(
        schema.words(),
        "a string that is not empty, or a list of 1 to 4, each an integer between 0 and 9"
    );
    let own = GenerationDefaults { temperature: Some(0.7), ..GenerationDefaults::default() };
    let body = body_schema(COMPLETIONS, &own);
    let of = |name: &str| &body["properties"][name];
    assert_eq!(of("top_p")["exclusiveMinimum"], json!(0.0));
    assert_eq!((&of("top_p")["type"], &of("top_p")["maximum"]), (&json!(["number", "null"]), &json!(1.0)));
    assert_eq!([&of("temperature")["default"], &of("top_p")["default"]], [&json!(0.7), &json!(1)]);
    assert_eq!(of("typical_p")["enum"], json!([1, null]));
    assert_eq!(of("stream_options")["properties"]["include_usage"]["type"], json!(["boolean", "null"]));
    assert!(of("speed").is_null() && of("prompt")["anyOf"].is_array());
    assert_eq!(of("messages")["enum"], json!([[], null]));
}
