//! What fuzzing checks: one function for each kind of hostile bytes, which panics where they are
//! read wrongly. `fuzz` runs them under libFuzzer; the test `fuzz_seeds` runs the seeds.
//!
//! Beside panics, overflows and endless loops, which any input may find, each says what holds for
//! every input: limits are kept, errors blame the client briefly, and how bytes are split over
//! reads changes nothing.
use std::sync::{Arc, OnceLock};
use verbatim::load::gguf::header::read_header;
use verbatim::load::{Folder, LoadError, NoProgress, WeightChoice, load_model};
use verbatim::runtime::{CHOICES_MAX, OwnedRequest, ServedModel};
use verbatim::serve::api::chat::Chat;
use verbatim::serve::api::completions::Completions;
use verbatim::serve::api::dialect::Dialect;
use verbatim::serve::api::fields::{Fields, object};
use verbatim::serve::api::limits::{Reading, RequestBounds, RequestLimits};
use verbatim::serve::api::params::ParsedBody;
use verbatim::serve::error::ApiError;
use verbatim::serve::transport::body::{BodyDecoder, BodyError};
use verbatim::serve::transport::head::{Framing, HEAD_MAX, HEADERS_MAX, Head, Version};
use verbatim::text::parts::part::joined;
use verbatim::text::parts::{
    OfferedTool, OfferedTools, OutputFormat, Part, PartReader, ReasoningFormat, ReasoningSyntax, ToolFormat,
    ToolSyntax,
};
use verbatim_core::pool::Serial;

/// Characters of an error's message, at most: it quotes at most a hundred of what was sent.
const MESSAGE_MAX: usize = 500;
/// Stop strings of a request, at most.
const STOP_STRINGS_MAX: usize = 16;

/// The built-in model with a small context, opened once.
fn model() -> &'static ServedModel {
    static MODEL: OnceLock<ServedModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let options = verbatim::runtime::Options { workers: Some(1), ..Default::default() };
        ServedModel::open(&options, &NoProgress).expect("the built-in model opens")
    })
}

/// A body of JSON, as a request of each endpoint that generates.
///
/// # Panics
/// If a rule of the module does not hold.
pub fn json_request(data: &[u8]) {
    let bounds = RequestBounds::new(&RequestLimits::default(), model());
    let reading = Reading { model: model(), bounds: &bounds };
    let map = match object(data, &bounds) {
        Ok(map) => map,
        Err(error) => return blames_the_client(&error),
    };
    let fields = Fields::new(&map);
    for dialect in [&Completions as &dyn Dialect, &Chat] {
        match dialect.parse(&fields, reading) {
            Ok(parsed) => {
                is_within_limits(&parsed);
                if fields.get("seed").is_some() {
                    let again = dialect.parse(&fields, reading).expect("it was read before");
                    assert_eq!(format!("{parsed:?}"), format!("{again:?}"), "it is read differently now");
                }
            }
            Err(error) => blames_the_client(&error),
        }
    }
}

/// A GGUF file: its header, and the model if it is one.
///
/// # Panics
/// If a rule of the module does not hold.
pub fn gguf(data: &[u8]) {
    let name = "m.gguf";
    let files = [(name.to_owned(), Arc::from(data))].into();
    let folder = Folder::Memory { name: "fuzz".into(), files };
    let is_brief = |error: &LoadError| {
        let told = error.to_string();
        assert!(told.starts_with("fuzz/m.gguf: ") && told.chars().count() <= MESSAGE_MAX, "{told}");
    };
    let file = folder.open(name).expect("memory can be read").expect("it is there");
    match read_header(&file) {
        Ok(header) => {
            let mut end = 0;
            for tensor in &header.tensors {
                assert!(tensor.offset >= end && tensor.shape.iter().all(|size| *size > 0), "{tensor:?}");
                end = tensor.offset + tensor.bytes;
            }
            assert!(end <= data.len() as u64);
        }
        Err(error) => return is_brief(&error),
    }
    let loaded = load_model(&folder, WeightChoice::default(), &Serial, &NoProgress);
    if let Err(error) = loaded {
        is_brief(&error);
    }
}

fn blames_the_client(error: &ApiError) {
    assert!((400..500).contains(&error.status), "{error:?}");
    assert!((1..=MESSAGE_MAX).contains(&error.message.chars().count()), "{error:?}");
    assert!(error.param.as_ref().is_none_or(|param| param.chars().count() <= 100), "{error:?}");
}

fn is_within_limits(parsed: &ParsedBody) {
    let limits = &model().limits;
    let ParsedBody { requests, stop, .. } = parsed;
    let choices: usize = requests.iter().map(|request| request.choices as usize).sum();
    assert!(!requests.is_empty() && (requests.len()..=CHOICES_MAX).contains(&choices), "{choices}");
    for OwnedRequest { prompt, generated, max_tokens, .. } in requests {
        assert!(!prompt.is_empty() && generated.len() <= *max_tokens);
        assert!(prompt.len() + max_tokens <= limits.model_len, "{} and {max_tokens}", prompt.len());
    }
    assert!(stop.len() <= STOP_STRINGS_MAX && stop.iter().all(|stop| !stop.is_empty()), "{stop:?}");
}

/// Bytes as the head of a request, and what follows it.
///
/// # Panics
/// If a rule of the module does not hold.
pub fn head(data: &[u8]) {
    match Head::parse(data) {
        Ok(Some((head, length))) => {
            assert!(length <= data.len().min(HEAD_MAX), "{length}");
            assert_eq!(
                Head::parse(&data[..length]),
                Ok(Some((head.clone(), length))),
                "it needs what follows"
            );
            // Wherever a read ends, nothing is decided too soon.
            for end in [0, length / 3, length / 2, length.saturating_sub(2), length - 1] {
                assert_eq!(Head::parse(&data[..end]), Ok(None), "its first {end} bytes are something else");
            }
            is_sound(&head);
        }
        Ok(None) => assert!(data.len() <= HEAD_MAX),
        Err(error) => {
            assert!([400, 417, 431, 501, 505].contains(&error.status()), "{error:?}");
            assert!(error.to_string().len() < MESSAGE_MAX);
            let more = [data, b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
            assert!(Head::parse(&more).is_err(), "more bytes mend {error:?}");
        }
    }
}

/// What a proxy in front must see in a head as it is seen here.
fn is_sound(head: &Head) {
    let is_visible = |byte: u8| byte > b' ' && byte != 0x7f;
    assert!(head.path.starts_with('/') || head.path == "*", "{head:?}");
    assert!(head.path.bytes().all(is_visible) && !head.path.contains(['?', '#']), "{head:?}");
    assert!(head.headers.len() <= HEADERS_MAX);
    for (name, value) in &head.headers {
        assert!(!name.is_empty() && name.bytes().all(|byte| is_visible(byte) && byte != b':'), "{head:?}");
        assert!(!value.contains(['\r', '\n', '\0']), "{head:?}");
    }
    let all = |name: &'static str| {
        head.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    assert!(all("host").count() <= 1, "{head:?}");
    let (chunked, lengths) = (all("transfer-encoding").count(), all("content-length").collect::<Vec<_>>());
    match head.framing {
        Framing::Chunked => {
            assert!(chunked == 1 && lengths.is_empty() && head.version == Version::Http11, "{head:?}");
        }
        Framing::Length(length) => {
            assert_eq!(chunked, 0, "{head:?}");
            assert!(length == 0 || !lengths.is_empty(), "{head:?}");
            assert!(
                lengths.iter().all(|digits| digits.parse::<u64>().unwrap_or(u64::MAX) == length),
                "{head:?}"
            );
        }
    }
}

/// Bytes of a body, at most.
const BODY_MAX: usize = 2000;

/// Bytes as a body. The first one says how it is framed: by chunks, or, where it is odd, by the
/// length in the next two. The bytes of the body follow.
///
/// # Panics
/// If a rule of the module does not hold.
pub fn body(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let (framing, bytes) = match rest {
        [low, high, bytes @ ..] if choice % 2 == 1 => {
            (Framing::Length(u64::from(u16::from_le_bytes([*low, *high]))), bytes)
        }
        bytes => (Framing::Chunked, bytes),
    };
    let at_once = decode(framing, bytes, bytes.len());
    for piece in [1, 2, 3, 1 + usize::from(*choice)] {
        assert_eq!(decode(framing, bytes, piece), at_once, "in pieces of {piece}");
    }
    let (body, used) = match at_once {
        Ok(decoded) => decoded,
        Err(error) => {
            assert!([400, 413].contains(&error.status()) && error.to_string().len() < MESSAGE_MAX);
            return;
        }
    };
    assert!(body.len() <= BODY_MAX);
    match (framing, used) {
        (Framing::Length(length), Some(used)) => {
            assert_eq!((used as u64, body.as_slice()), (length, &bytes[..used]));
        }
        (Framing::Chunked, Some(used)) => {
            assert!(bytes[..used].ends_with(b"\r\n") && used >= body.len() + 5);
            let again = [format!("{:X}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
            let again = if body.is_empty() { b"0\r\n\r\n".to_vec() } else { again };
            assert_eq!(decode(Framing::Chunked, &again, 7), Ok((body, Some(again.len()))));
        }
        (_, None) => {}
    }
}

/// Decodes `bytes` as they come in pieces of one size: the body, and how many bytes it took if it
/// is whole.
fn decode(framing: Framing, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), BodyError> {
    let mut decoder = BodyDecoder::new(framing, BODY_MAX)?;
    let (mut body, mut used, mut come) = (Vec::new(), 0, 0);
    loop {
        used += decoder.decode(&bytes[used..come], &mut body)?;
        assert!(used <= come && decoder.expected() <= BODY_MAX);
        if decoder.is_done() || come == bytes.len() {
            return Ok((body, decoder.is_done().then_some(used)));
        }
        come = (come + piece.max(1)).min(bytes.len());
    }
}

/// Bytes as what a model writes, behind two that choose the format and how it is cut: text,
/// reasoning and calls, whose order and names are right, and which do not depend on the cuts.
///
/// # Panics
/// If a rule of the module does not hold.
pub fn parts(data: &[u8]) {
    let [format, cut, bytes @ ..] = data else { return };
    let text = String::from_utf8_lossy(bytes);
    let format = output_format(*format);
    let whole = read_parts(&format, &[&text]);
    let mut calls = 0;
    for part in &whole {
        match part {
            Part::Text(text) | Part::Reasoning(text) => assert!(!text.is_empty()),
            Part::CallBegins { call, name } => {
                assert!(*call == calls && (1..=64).contains(&name.len()), "{call}: {name}");
                calls += 1;
            }
            Part::Arguments { call, fragment } => {
                assert!(*call + 1 == calls && fragment.starts_with('{'), "{call}: {fragment}");
            }
        }
    }
    let chars: Vec<char> = text.chars().collect();
    let pieces: Vec<String> =
        chars.chunks(1 + usize::from(cut % 16)).map(|piece| piece.iter().collect()).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    assert_eq!(read_parts(&format, &pieces), whole, "in pieces");
}

/// The format that a byte stands for.
fn output_format(byte: u8) -> OutputFormat {
    let schema = serde_json::json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}});
    let offered = ["f", "get_weather"].map(|name| OfferedTool {
        name: name.to_owned(),
        parameters: schema.clone(),
        strict: false,
    });
    let syntax = ToolSyntax::ALL[usize::from(byte) % ToolSyntax::ALL.len()];
    let (parallel, is_open) = (byte & 0x20 == 0, byte & 0x40 != 0);
    let reasoning = ReasoningFormat { syntax: ReasoningSyntax::Think, is_open };
    OutputFormat {
        reasoning: (byte & 0x80 != 0).then_some(reasoning),
        tools: Some(ToolFormat { syntax, parallel, offered: OfferedTools(offered.into()).into() }),
    }
}

fn read_parts(format: &OutputFormat, pieces: &[&str]) -> Vec<Part> {
    let (mut reader, mut parts) = (PartReader::new(format.clone()), Vec::new());
    pieces.iter().for_each(|piece| reader.push(piece, &mut parts));
    reader.finish(&mut parts);
    joined(parts)
}
