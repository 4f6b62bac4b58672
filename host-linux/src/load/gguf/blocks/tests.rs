//! Blocks against what the `gguf` package and ggml make of them.
use super::super::tensor_type::TensorType;
use super::*;
use crate::load::checkpoint::Elements;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/gguf_blocks.json");
    serde_json::from_slice(&std::fs::read(path).expect("the golden is there")).expect("it is JSON")
}

#[test]
fn every_type_gives_the_bits_of_ggml() {
    let golden = golden();
    let types = golden["types"].as_object().unwrap();
    assert_eq!(types.len(), BlockFormat::ALL.len());
    for format in BlockFormat::ALL {
        let entry = &types[format.name()];
        let bytes = |key: &str| STANDARD.decode(entry[key].as_str().unwrap()).unwrap();
        let kind = TensorType::of_number(entry["number"].as_u64().unwrap() as u32).unwrap();
        assert_eq!(kind.elements, Some(Elements::Blocks(*format)));
        let expected: Vec<u32> =
            bytes("floats").chunks_exact(4).map(|x| u32::from_le_bytes(x.try_into().unwrap())).collect();
        assert!(expected.len() >= 512, "{} floats", expected.len());
        for isa in Isa::available().iter() {
            let mut floats = vec![0.0; expected.len()];
            dequantize(*isa, *format, &bytes("blocks"), &mut floats);
            for (i, (found, expected)) in floats.iter().zip(&expected).enumerate() {
                let expected_value = f32::from_bits(*expected);
                assert_eq!(found.to_bits(), *expected, "{} {i}: {found} {expected_value}", format.name());
            }
        }
    }
}

/// What the module says of products: they are exact, so it does not matter whether the difference
/// is taken by a fused instruction.
#[test]
fn products_are_exact() {
    for format in BlockFormat::ALL {
        let entry = golden()["types"][format.name()]["blocks"].as_str().unwrap().to_owned();
        struct Exact(Vec<u8>);
        impl BlockVisitor for Exact {
            type Output = ();
            fn visit<B: Block>(self) {
                let mut parts = Parts { codes: [0; ELEMENTS_MAX], scales: [0.0; 16], minima: [0.0; 16] };
                for block in self.0.chunks_exact(B::BYTES) {
                    B::unpack(block, &mut parts);
                    for (i, code) in parts.codes[..B::ELEMENTS].iter().enumerate() {
                        let scale = parts.scales[i / B::GROUP];
                        let exact = f64::from(scale) * f64::from(*code);
                        assert_eq!(f64::from(scale * f32::from(*code)), exact);
                    }
                }
            }
        }
        format.visit(Exact(STANDARD.decode(entry).unwrap()));
    }
}
