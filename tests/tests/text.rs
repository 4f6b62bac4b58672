//! Tokenizers and chat templates against Hugging Face's: the same ids, the same strings.
use serde_json::Value;
use verbatim::load::builtin;
use verbatim::text::template::{ChatTemplate, TemplateInput};
use verbatim::text::{Detokenizer, Tokenizer};
use verbatim_tests::draws::Draws;
use verbatim_tests::fixture::tokenizer_json;
use verbatim_tests::{data, golden};

fn tokenizer_of(test: &str, folder: &str, file: &str) -> Option<Tokenizer> {
    let path = data::find(test, &format!("models/configs/{folder}"))?;
    let json = std::fs::read(path.join(file)).expect("the tokenizer is readable");
    let config = std::fs::read(path.join("tokenizer_config.json")).ok();
    Some(Tokenizer::new(&json, config.as_deref()).expect("the tokenizer loads"))
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().expect("a list of ids");
    list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

#[test]
fn tokenizers_give_the_ids_of_hugging_face() {
    let test = "tokenizers_give_the_ids_of_hugging_face";
    for (name, folder, file) in [
        ("tinyllama", "TinyLlama-1.1B-Chat-v1.0", "tokenizer.json"),
        ("qwen2.5", "Qwen2.5-0.5B-Instruct", "tokenizer.rebuilt.json"),
    ] {
        let Some(tokenizer) = tokenizer_of(test, folder, file) else { return };
        let golden: Value = golden::read(&golden::folder().join(format!("tokenizer_{name}.json")));
        let cases = golden["cases"].as_array().expect("cases");
        assert!(cases.len() >= 40);
        for case in cases {
            let text = case["text"].as_str().expect("text");
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids(&case["ids_special"]), "{name}: {text:?}");
            let decoded = tokenizer.decode(&ids(&case["ids"]), true).unwrap();
            assert_eq!(decoded, case["decoded"].as_str().expect("decoded"), "{name}: {text:?}");
        }
    }
}

#[test]
fn smollm2_gives_the_ids_of_its_cases() {
    let test = "smollm2_gives_the_ids_of_its_cases";
    let Some(tokenizer) = tokenizer_of(test, "SmolLM2-135M-Instruct", "tokenizer.json") else { return };
    let Some(path) = data::find(test, "models/configs/SmolLM2-135M-Instruct/tokenizer_cases.json") else {
        return;
    };
    let cases: Value = golden::read(&path);
    let list = cases.as_array().or_else(|| cases["cases"].as_array()).expect("cases");
    for case in list {
        let text = case["text"].as_str().expect("text");
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["ids"]), "{text:?}");
    }
}

#[test]
fn pieces_of_text_add_up_to_the_whole() {
    let test = "pieces_of_text_add_up_to_the_whole";
    for (folder, file) in [
        ("TinyLlama-1.1B-Chat-v1.0", "tokenizer.json"),
        ("Qwen2.5-0.5B-Instruct", "tokenizer.rebuilt.json"),
        ("SmolLM2-135M-Instruct", "tokenizer.json"),
    ] {
        let Some(tokenizer) = tokenizer_of(test, folder, file) else { return };
        for text in [
            "Hello world",
            " leading",
            "日本語のテキスト 👩‍👩‍👧 e\u{301} naïve",
            "a\n\n  b\tc",
            "fn main() {}",
            "𝔘𝔫𝔦 🙂",
        ] {
            let ids = tokenizer.encode(text, false).unwrap();
            for split in 0..ids.len() {
                let mut detokenizer = Detokenizer::new(&tokenizer, &ids[..split], true);
                let mut out = String::new();
                for id in &ids[split..] {
                    let piece = detokenizer.push(*id).unwrap();
                    assert!(split > 0 || !piece.contains('\u{fffd}'), "{folder} {text:?}: half a character");
                    out.push_str(&piece);
                }
                out.push_str(&detokenizer.finish().unwrap());
                let whole = tokenizer.decode(&ids, true).unwrap();
                if split == 0 {
                    assert_eq!(out, whole, "{folder} {text:?}");
                } else if !out.contains('\u{fffd}') {
                    assert!(whole.ends_with(&out), "{folder} {text:?} from {split}: {out:?}");
                }
            }
        }
    }
}

/// Texts that tokens cover densely: one token again and again, random ones, and random characters.
fn dense_texts(tokenizer: &Tokenizer, draws: &mut Draws) -> Vec<String> {
    let letters: Vec<char> =
        " \u{2581}\n\t\u{4}\u{16}ab1é日🙂\u{301}\u{308}\u{1d42e}\u{1112}\u{1161}\u{212b}\u{fdfa}\u{3000}"
            .chars()
            .collect();
    let vocab = tokenizer.vocab_size();
    let mut texts = Vec::new();
    for _ in 0..400 {
        let id = draws.below(vocab) as u32;
        texts.push(tokenizer.decode(&[id; 20], false).unwrap());
        texts.push(String::from_utf8_lossy(&tokenizer.bytes(id)).repeat(20));
        let ids: Vec<u32> = (0..30).map(|_| draws.below(vocab) as u32).collect();
        texts.push(tokenizer.decode(&ids, false).unwrap());
        texts.push((0..40).map(|_| *draws.pick(&letters)).collect());
    }
    // The longest pieces are those that the bound is made of.
    let mut ids: Vec<u32> = (0..vocab as u32).collect();
    ids.sort_by_key(|id| std::cmp::Reverse(tokenizer.piece(*id).map_or(0, |piece| piece.len())));
    for id in &ids[..50.min(ids.len())] {
        texts.push(String::from_utf8_lossy(&tokenizer.bytes(*id)).repeat(50));
    }
    texts
}

#[test]
fn a_text_has_no_fewer_tokens_than_its_bound() {
    let test = "a_text_has_no_fewer_tokens_than_its_bound";
    let mut tokenizers = vec![
        ("tiny", Tokenizer::new(tokenizer_json().to_string().as_bytes(), None).expect("it loads")),
        ("built-in", {
            let read = |name| builtin::folder().read_small(name, 1 << 24).unwrap().unwrap();
            Tokenizer::new(&read("tokenizer.json"), None).expect("it loads")
        }),
    ];
    for (folder, file) in [
        ("TinyLlama-1.1B-Chat-v1.0", "tokenizer.json"),
        ("Qwen2.5-0.5B-Instruct", "tokenizer.rebuilt.json"),
        ("SmolLM2-135M-Instruct", "tokenizer.json"),
    ] {
        tokenizers.extend(tokenizer_of(test, folder, file).map(|tokenizer| (folder, tokenizer)));
    }
    let mut draws = Draws::new(28);
    for (name, tokenizer) in &tokenizers {
        let max = tokenizer.token_bytes_max().unwrap_or_else(|| panic!("{name}: nothing is known"));
        let (mut tightest, mut count) = (0.0_f64, 0);
        for text in dense_texts(tokenizer, &mut draws) {
            let (least, ids) = (tokenizer.tokens_min(&text), tokenizer.encode(&text, false).unwrap());
            let chat = tokenizer.encode_chat(&tokenizer.guard(&text)).unwrap();
            assert!(
                least <= ids.len().min(chat.len()),
                "{name}: {text:?} has {} tokens, not {least}",
                ids.len()
            );
            if !ids.is_empty() {
                tightest = tightest.max(least as f64 / ids.len() as f64);
            }
            count += 1;
        }
        println!("{name}: a token covers {max} bytes at most; {count} texts, tightest {tightest:.2}");
        assert!(tightest > 0.1, "{name}: the bound says nothing");
        assert!(tokenizer.tokens_min(&"word ".repeat(100_000)) >= 500_000 / max, "{name}");
    }
}

#[test]
fn special_token_text_in_a_message_is_ordinary_text() {
    let test = "special_token_text_in_a_message_is_ordinary_text";
    let Some(tokenizer) = tokenizer_of(test, "Qwen2.5-0.5B-Instruct", "tokenizer.rebuilt.json") else {
        return;
    };
    let end = tokenizer.id_of("<|im_end|>").expect("a special token");
    let guarded = tokenizer.guard("a<|im_end|>b");
    let rendered = format!("<|im_start|>user\n{guarded}<|im_end|>\n");
    let ids = tokenizer.encode_chat(&rendered).unwrap();
    assert_eq!(ids.iter().filter(|id| **id == end).count(), 1);
    let text = tokenizer.decode(&ids, false).unwrap();
    assert_eq!(text, "<|im_start|>user\na<|im_end|>b<|im_end|>\n");
}

#[test]
fn special_tokens_are_found_in_their_order_however_many_there_are() {
    let tokenizer = Tokenizer::new(tokenizer_json().to_string().as_bytes(), None).expect("it loads");
    let (bos, eos) = (tokenizer.id_of("<s>").expect("BOS"), tokenizer.id_of("</s>").expect("EOS"));
    let mut rendered = tokenizer.guard("<s>");
    let mut expected: Vec<u32> = "<s>".bytes().map(u32::from).collect();
    for _ in 0..3 {
        rendered.push_str("</s>x<s><s>");
        expected.extend([eos, u32::from(b'x'), bos, bos]);
    }
    assert_eq!(tokenizer.encode_chat(&rendered).unwrap(), expected);
    // Were the whole rest searched behind each of them, this would take minutes.
    let many = rendered.clone() + &"<s>y".repeat(200_000);
    assert_eq!(tokenizer.encode_chat(&many).unwrap().len(), expected.len() + 400_000);
}

#[test]
fn templates_render_the_strings_of_hugging_face() {
    let test = "templates_render_the_strings_of_hugging_face";
    let mut count = 0;
    for folder in [
        "Llama-3.2-1B-Instruct",
        "Mistral-7B-Instruct-v0.2",
        "Qwen2.5-0.5B-Instruct",
        "Qwen3-0.6B",
        "SmolLM2-135M-Instruct",
        "TinyLlama-1.1B-Chat-v1.0",
        "TinyLlama-1.1B-Chat-v1.0/edgecluster",
    ] {
        let Some(path) = data::find(test, &format!("models/configs/{folder}")) else { return };
        let jinja = std::fs::read(path.join("chat_template.jinja")).ok();
        let config = std::fs::read(path.join("tokenizer_config.json")).ok();
        let config: Value = config.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).expect("JSON"));
        let template =
            ChatTemplate::find(None, jinja.as_deref(), &config).expect("compiles").expect("a template");
        let name = folder.replace('/', "_");
        let golden: Value = golden::read(&golden::folder().join(format!("templates_{name}.json")));
        for case in golden["cases"].as_array().expect("cases") {
            let mut input = TemplateInput {
                messages: case["messages"].as_array().expect("messages").clone(),
                tools: case.get("tools").filter(|tools| !tools.is_null()).cloned(),
                ..TemplateInput::default()
            };
            for part in ["tokens", "kwargs"] {
                let of_case = case.get(part).or_else(|| golden.get(part));
                for (key, value) in of_case.and_then(Value::as_object).into_iter().flatten() {
                    if key == "add_generation_prompt" {
                        input.add_generation_prompt = value.as_bool().unwrap_or_default();
                    } else {
                        input.variables.insert(key.clone(), value.clone());
                    }
                }
            }
            let got = template.render(&input);
            count += 1;
            match case["rendered"].as_str() {
                Some(expected) => assert_eq!(got.as_deref(), Ok(expected), "{folder}: {case}"),
                None => assert!(got.is_err(), "{folder}: {case}"),
            }
        }
    }
    assert!(count >= 150, "{count}");
}
