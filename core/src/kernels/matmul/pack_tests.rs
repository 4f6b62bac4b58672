//! The fast packing against the one that goes element by element.
use super::*;
use crate::dtype::{FLUSH_BELOW, bf16_operand};
use crate::kernels::matmul::tests::Bytes;
use crate::memory::cast_mut;
use half::bf16;
use std::vec;
use std::vec::Vec;

const SOURCES: [SourceType; 3] = [SourceType::F32, SourceType::F16, SourceType::Bf16];
const FORMATS: [WeightFormat; WeightFormat::ALL.len()] = WeightFormat::ALL;

/// An element of a source, widened exactly.
fn widen(source: SourceType, bytes: &[u8]) -> f32 {
    struct Widen<'a>(&'a [u8]);
    impl SourceVisitor for Widen<'_> {
        type Output = f32;
        fn visit<E: Element>(self) -> f32 {
            E::widen(E::read(self.0))
        }
    }
    source.visit(Widen(bytes))
}

/// Packs element by element, into bytes of the right alignment.
struct Plainly<'a> {
    panel: &'a mut [u8],
    k: usize,
    value: &'a dyn Fn(usize, usize) -> f32,
}
impl FormatVisitor for Plainly<'_> {
    type Output = Option<usize>;
    fn visit<F: Format>(self) -> Option<usize> {
        F::pack_plainly(cast_mut(self.panel).unwrap(), self.k, self.value)
    }
}

/// Any value of the source type that can be rotated, many of them tiny: its bytes.
fn element(source: SourceType, state: &mut u64) -> Vec<u8> {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let bits = (*state >> 32) as u32;
    let exponent = [bits >> 3 & 0xff, 70 + (bits >> 3 & 15), 0, 127][(bits & 3) as usize].min(250);
    let x = f32::from_bits(bits & 0x807f_ffff | exponent << 23);
    match source {
        SourceType::F32 => x.to_le_bytes().to_vec(),
        SourceType::Bf16 => ((x.to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        SourceType::F16 => {
            let bits = (bits >> 9) as u16;
            let bits = if bits & 0x7c00 == 0x7c00 { bits & 0x83ff } else { bits };
            bits.to_le_bytes().to_vec()
        }
    }
}

#[test]
fn panels_equal_the_plain_packing_for_all_types_and_odd_shapes() {
    let mut state = 1;
    for (source, format) in SOURCES.iter().flat_map(|s| FORMATS.map(|f| (*s, f))) {
        let mut flushed_in_all = 0;
        for (k, n) in [(1, 1), (2, 32), (31, 5), (32, 32), (33, 31), (64, 32), (65, 17), (172, 32), (301, 32)]
        {
            // One byte further than any alignment.
            let size = source.element_bytes();
            let mut bytes = vec![0; 1 + n * k * size];
            for i in 0..n * k {
                bytes[1 + i * size..][..size].copy_from_slice(&element(source, &mut state));
            }
            let wide: Vec<f32> = bytes[1..].chunks(size).map(|bytes| widen(source, bytes)).collect();
            let value = |lane: usize, i: usize| if lane < n { wide[lane * k + i] } else { 0.0 };
            let mut expected = Bytes::new(panel_len(format, k) * format.element_bytes());
            let plainly = Plainly { panel: expected.slice(), k, value: &value };
            let Some(flushed) = visit(format, plainly) else { continue };
            let values = Values { count: n, inputs: k, value: &value };
            let mut panel = vec![0xaa; expected.as_slice().len()];
            assert_eq!(pack_values(format, &mut panel, &values), Ok(flushed));
            assert!(panel == expected.as_slice(), "{format:?} {n} x {k}");
            let expected = expected.as_slice();
            for isa in Isa::available().iter() {
                let mut panel = vec![0xaa; expected.len()];
                let found = pack_panel(*isa, format, &mut panel, k, source, &bytes[1..]).unwrap();
                assert_eq!(found, flushed, "{} {source:?} {format:?} {n} x {k}", isa.name());
                assert!(panel == expected, "{} {source:?} {format:?} {n} x {k}", isa.name());

                if format != format.of_rows() {
                    continue;
                }
                let mut out = vec![0xaa; n * k * format.element_bytes()];
                let found = convert(*isa, format, &mut out, source, &bytes[1..]).unwrap();
                let converted: Vec<u8> = match format {
                    WeightFormat::F32 => wide.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    _ => wide.iter().flat_map(|x| bf16_operand(*x).to_le_bytes()).collect(),
                };
                assert!(found == flushed && out == converted, "{} {source:?} {format:?}", isa.name());
            }
            flushed_in_all += flushed;
        }
        let expect_flushed = format == WeightFormat::Bf16 && source != SourceType::F16;
        assert_eq!(flushed_in_all > 0, expect_flushed, "{source:?} {format:?}");
    }
}

#[test]
fn rows_that_are_operands_already_are_packed_as_any() {
    const UNFLUSHED_FROM: u16 = (FLUSH_BELOW.to_bits() >> 16) as u16;
    for k in [32, 64, 33, 100] {
        let plain = |i: usize| (0x3c00 + (i * 7 % 1000) as u16) | (i.is_multiple_of(3) as u16) << 15;
        // Nothing, and at some place what is no operand, or only just one.
        for odd in [
            plain(0),
            0,
            0x8000,
            1,
            0x8001,
            UNFLUSHED_FROM - 1,
            UNFLUSHED_FROM,
            UNFLUSHED_FROM | 0x8000,
            0x7f7f,
            0x7f80,
            0xff80,
            0x7fc0,
        ] {
            for at in [0, 31, 32 * k / 2 + 5, 32 * k - 1] {
                let bits: Vec<u16> = (0..32 * k).map(|i| if i == at { odd } else { plain(i) }).collect();
                let bytes: Vec<u8> = bits.iter().flat_map(|x| x.to_le_bytes()).collect();
                let wide: Vec<f32> = bits.iter().map(|x| bf16::from_bits(*x).to_f32()).collect();
                let value = |lane: usize, i: usize| wide[lane * k + i];
                let mut expected = vec![bf16::ONE; panel_len(WeightFormat::Bf16, k)];
                let flushed = bf16::pack_plainly(&mut expected, k, &value).unwrap();
                let expected: Vec<u8> = expected.iter().flat_map(|x| x.to_le_bytes()).collect();
                for isa in Isa::available().iter() {
                    let mut panel = vec![0xaa; expected.len()];
                    let found = pack_panel(*isa, WeightFormat::Bf16, &mut panel, k, SourceType::Bf16, &bytes);
                    if odd & 0x7f80 == 0x7f80 {
                        assert_eq!(found.map_err(place), Err((at / k, at % k)));
                    } else {
                        assert_eq!(found, Ok(flushed), "{} {odd:#x} at {at} of {k}", isa.name());
                        assert!(panel == expected, "{} {odd:#x} at {at} of {k}", isa.name());
                    }
                }
            }
        }
    }
}

/// Where a weight is that is not finite.
fn place(error: PackError) -> (usize, usize) {
    let PackError::NonFinite(bad) = error else { panic!("{error:?}") };
    (bad.lane, bad.k)
}

#[test]
fn what_is_not_finite_is_named() {
    let k = 75;
    for isa in Isa::available().iter() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001), f32::MAX] {
            for (format, at) in FORMATS.iter().flat_map(|f| [(*f, 0), (*f, 40 * 31), (*f, 32 * k - 1)]) {
                let mut weight = vec![0.5_f32; 32 * k];
                weight[at] = value;
                let bytes: Vec<u8> = weight.iter().flat_map(|x| x.to_le_bytes()).collect();
                let mut panel = vec![0; panel_len(format, k) * format.element_bytes()];
                let found = pack_panel(*isa, format, &mut panel, k, SourceType::F32, &bytes);
                let place = found.map_err(place);
                let is_finite = value == f32::MAX && format == WeightFormat::F32;
                assert_eq!(
                    place,
                    if is_finite { Ok(0) } else { Err((at / k, at % k)) },
                    "{value} {format:?}"
                );
                if format != format.of_rows() {
                    continue;
                }
                let mut out = vec![0; 32 * k * format.element_bytes()];
                let converted = convert(*isa, format, &mut out, SourceType::F32, &bytes);
                // The maximal f32 is a weight, but rounds to an infinite bf16.
                assert_eq!(converted.map_err(|bad| bad.k), if is_finite { Ok(0) } else { Err(at) });
            }
        }
    }
}
