//! Headers right and wrong: every lie is told by its field, and no bytes make the reader panic.
use super::*;
use crate::load::folder::Folder;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use verbatim_tests::draws::Draws;
use verbatim_tests::gguf::{GgufFile, GgufTensor, GgufValue};
use verbatim_tests::mutate;

fn tensor(name: &str, kind: u32, shape: &[usize], bytes: usize) -> GgufTensor {
    GgufTensor { name: name.to_owned(), kind, shape: shape.to_vec(), bytes: vec![7; bytes] }
}

fn file() -> GgufFile {
    let texts = ["a", "", "日本"].map(str::to_owned).to_vec();
    let keys = [
        ("general.architecture", GgufValue::Text("llama".to_owned())),
        ("llama.block_count", GgufValue::U32(2)),
        ("big", GgufValue::U64(u64::MAX)),
        ("below", GgufValue::I32(-3)),
        ("eps", GgufValue::F32(1e-5)),
        ("flag", GgufValue::Bool(true)),
        ("tokens", GgufValue::Texts(texts)),
        ("types", GgufValue::I32s(vec![1, -1])),
        ("scores", GgufValue::F32s(vec![0.5, -2.0])),
    ];
    let keys = keys.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let tensors = vec![tensor("a.weight", 0, &[2, 3], 24), tensor("b.weight", 8, &[3, 64], 3 * 2 * 34)];
    GgufFile::new(keys, tensors)
}

fn read(bytes: &[u8]) -> Result<Header, LoadError> {
    let files = BTreeMap::from([("m.gguf".to_owned(), Arc::from(bytes))]);
    let folder = Folder::Memory { name: PathBuf::from("folder"), files };
    read_header(&folder.open("m.gguf").unwrap().expect("it is there"))
}

fn told(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err().to_string();
    error.strip_prefix("folder/m.gguf: ").expect("the file is named").to_owned()
}

#[test]
fn a_header_is_read_whole() {
    for version in [2, 3] {
        let file = GgufFile { version, ..file() };
        let bytes = file.bytes();
        let header = read(&bytes).unwrap();
        let metadata = &header.metadata;
        assert_eq!(metadata.iter().count(), 9);
        assert_eq!(metadata.text("general.architecture").unwrap(), Some("llama"));
        assert_eq!(metadata.unsigned("big").unwrap(), Some(u64::MAX));
        assert_eq!(metadata.float("below").unwrap(), Some(-3.0));
        assert_eq!(metadata.float("eps").unwrap(), Some(f64::from(1e-5_f32)));
        assert_eq!(metadata.flag("flag").unwrap(), Some(true));
        assert!(metadata.texts("tokens").unwrap().unwrap().iter().eq(["a", "", "日本"]));
        assert!(metadata.integers("types").unwrap().unwrap().eq([1, -1]));
        assert!(metadata.floats("scores").unwrap().unwrap().eq([0.5, -2.0]));
        let [a, b] = &header.tensors[..] else { panic!("two tensors") };
        assert_eq!(
            (a.name.as_str(), a.kind.name, &a.shape[..], a.bytes),
            ("a.weight", "F32", &[2, 3][..], 24)
        );
        assert_eq!(
            (b.name.as_str(), b.kind.name, &b.shape[..], b.bytes),
            ("b.weight", "Q8_0", &[3, 64][..], 204)
        );
        assert_eq!(b.offset, a.offset + 32);
        assert_eq!(bytes[a.offset as usize..][..24], [7; 24]);
        assert_eq!(b.offset + b.bytes, bytes.len() as u64);
    }
    // Another alignment, and no tensor at all, as the first of several shards may be.
    let mut aligned = GgufFile { alignment: 64, ..file() };
    aligned.set("general.alignment", GgufValue::U32(64));
    let header = read(&aligned.bytes()).unwrap();
    assert!(header.tensors.iter().all(|tensor| tensor.offset.is_multiple_of(64)));
    assert!(read(&GgufFile { tensors: Vec::new(), ..file() }.bytes()).unwrap().tensors.is_empty());
}

#[test]
fn versions_and_counts_are_told() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file().bytes();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        told(&file)
    };
    assert_eq!(with(0, b"ggjt"), "magic: found bytes [67, 67, 6a, 74], expected \"GGUF\"");
    let again = "2 or 3: convert the model again, or have a newer tool write the file anew";
    assert_eq!(with(4, &[1, 0, 0, 0]), format!("version: found 1, expected {again}"));
    assert_eq!(with(4, &[4, 0, 0, 0]), "version: found 4, expected 2 or 3");
    assert_eq!(with(4, &[0, 0, 0, 3]), "version: found 3, big-endian, expected a little-endian file");
    assert_eq!(with(8, &[0xff; 8]), "tensor count: found 18446744073709551615, expected at most 65536");
    assert_eq!(with(16, &[0, 0, 0, 1]), "key count: found 16777216, expected at most 65536");
    assert_eq!(told(b"GG"), "magic: found 2 more bytes, expected 4 before the file's end");
}

#[test]
fn wrong_values_are_told_by_their_key() {
    // The key and its value stand at the end of a header without tensors, to be changed there.
    let last = |value: GgufValue, cut: usize, with: &[u8]| {
        let file = GgufFile::new(vec![("key".to_owned(), value)], Vec::new());
        let mut bytes = file.bytes();
        bytes.truncate(bytes.len() - cut);
        bytes.extend(with);
        told(&bytes)
    };
    let long = |n: u64| n.to_le_bytes();
    assert_eq!(
        last(GgufValue::Bool(true), 1, &[2]),
        "key: found 2, expected a truth value in a byte that is 0 or 1"
    );
    assert_eq!(
        last(GgufValue::Bool(true), 5, &[13, 0, 0, 0, 0]),
        "key: found a value of type 13, expected a type from 0 to 12"
    );
    assert_eq!(
        last(GgufValue::Text("abc".to_owned()), 11, &long(u64::MAX)),
        "key: found a string of 18446744073709551615 bytes, expected at most 268435456"
    );
    assert_eq!(
        last(GgufValue::Text("abc".to_owned()), 3, &[b'a', 0xff, b'b']),
        "key: found a string that is no UTF-8 from its byte 1 on, expected UTF-8"
    );
    assert_eq!(
        last(GgufValue::F32s(vec![1.0]), 12, &long(1 << 62)),
        "key: found 0 more bytes, expected 18446744073709551615 before the file's end"
    );
    assert_eq!(
        last(GgufValue::Texts(vec![]), 8, &long(1 << 40)),
        "key: found 0 more bytes, expected 8796093022208 before the file's end"
    );
    // A list of lists: type 9 within type 9.
    assert_eq!(
        last(GgufValue::I32s(vec![]), 12, &[&[9, 0, 0, 0][..], &long(0)].concat()),
        "key: found a list of lists, expected a list of strings or numbers"
    );
    assert_eq!(
        last(GgufValue::U32(3), 8, &[4, 0, 0]),
        "key: found 3 more bytes, expected 4 before the file's end"
    );
    let twice = GgufFile::new(vec![("key".to_owned(), GgufValue::U32(5)); 2], Vec::new());
    assert_eq!(told(&twice.bytes()), "key: found the key once more, after 5, expected each key once");
    let mut odd = file();
    odd.set("general.alignment", GgufValue::U32(24));
    assert_eq!(told(&odd.bytes()), "general.alignment: found 24, expected a power of two from 8 to 65536");
}

#[test]
fn wrong_tensors_are_told_by_their_name() {
    let of = |tensors: Vec<GgufTensor>| told(&GgufFile::new(Vec::new(), tensors).bytes());
    assert_eq!(
        of(vec![tensor("t", 0, &[1, 1, 1, 1, 1], 4)]),
        "tensor t: found 5 dimensions, expected 1 to 4"
    );
    assert_eq!(of(vec![tensor("t", 0, &[], 4)]), "tensor t: found 0 dimensions, expected 1 to 4");
    assert_eq!(
        of(vec![tensor("t", 0, &[0, 4], 4)]),
        "tensor t: found a dimension of 0, expected at least 1, and less than 2^48 elements in all"
    );
    assert_eq!(
        of(vec![tensor("t", 0, &[1 << 40, 1 << 40], 4)]),
        "tensor t: found a dimension of 1099511627776, expected at least 1, and less than 2^48 elements in all"
    );
    assert_eq!(
        of(vec![tensor("t", 5, &[32], 4)]),
        "tensor t: found elements of type 5, expected a type that is known: the file may be newer"
    );
    assert_eq!(
        of(vec![tensor("t", 12, &[2, 128], 144)]),
        "tensor t: found rows of 128 elements, expected a multiple of 256, as Q4_K has them"
    );
    let cut = of(vec![tensor("t", 0, &[100], 4)]);
    assert_eq!(cut, "tensor t: found 400 bytes from byte 0 + 64 on, expected all in a file of 68");
    assert_eq!(
        of(vec![tensor("t", 0, &[1], 4), tensor("t", 0, &[1], 4)]),
        "tensor t: found it twice, expected it once"
    );
    let mut overlapping = GgufFile::new(Vec::new(), vec![tensor("t", 0, &[8], 32), tensor("u", 0, &[8], 32)]);
    overlapping.tensors[0].shape = vec![16];
    overlapping.tensors.push(tensor("v", 0, &[8], 32));
    assert_eq!(told(&overlapping.bytes()), "tensor u: found bytes of t, expected bytes of its own");
    // Offsets are written by the writer; of an alignment that the file does not name, they are odd.
    let odd = GgufFile { alignment: 8, ..GgufFile::new(Vec::new(), vec![tensor("t", 0, &[2], 8); 2]) };
    assert_eq!(told(&odd.bytes()), "tensor t: found offset 8, expected a multiple of 32");
}

/// What must hold of any bytes: they are read, or refused briefly.
fn is_read_or_refused(bytes: &[u8]) {
    match read(bytes) {
        Ok(header) => {
            for tensor in &header.tensors {
                assert!(tensor.offset + tensor.bytes <= bytes.len() as u64);
            }
        }
        Err(error) => assert!(error.to_string().chars().count() < 500, "{error}"),
    }
}

#[test]
fn mutated_headers_do_not_panic() {
    // `VERBATIM_MUTATIONS=25` runs 25 times as many.
    let times = std::env::var("VERBATIM_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let count: u64 = 4000 * times;
    let good = file().bytes();
    for case in 0..count {
        let mut draws = Draws::new(case);
        let mut bytes = good.clone();
        mutate::bytes(&mut draws, &mut bytes);
        is_read_or_refused(&bytes);
    }
    for len in 0..good.len() {
        is_read_or_refused(&good[..len]);
    }
}
