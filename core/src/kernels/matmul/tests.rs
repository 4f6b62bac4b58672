//! Every instruction set's product against the reference, bit by bit: ragged shapes drawn, real
//! shapes sampled.
#![allow(unsafe_code)]

use super::dequantized::dequantized_as_stored;
use super::linear::{Linear, Panels};
use super::pack::pack_values;
use super::panel::{PANEL, panel_count};
use super::product::{multiply, scratch_bytes};
use super::source::float::Values;
use super::{Activations, Epilogue, panel_len};
use crate::dtype::{Int8, OperandFormat, WeightFormat, bf16_operand};
use crate::isa::{InstructionSet, Isa, LANES, Simd, SimdOp};
use crate::kernels::math::silu;
use crate::kernels::{quantize, rotation};
use crate::tensor::{Rows, Shared, padded};
use half::bf16;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// A cheap, seeded, roughly normal value.
pub(crate) fn noise(seed: u64, i: usize) -> f32 {
    let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let quarter = |shift: u32| ((z >> shift) as u16) as f32 / 65536.0 - 0.5;
    quarter(0) + quarter(16) + quarter(32) + quarter(48)
}

struct Case {
    n: usize,
    k: usize,
    /// In each format its panels.
    panels: Vec<(WeightFormat, Bytes)>,
    bias: Option<Vec<f32>>,
    act_f32: Vec<f32>,
    act_bf16: Vec<bf16>,
    act_int8: Vec<Int8>,
    act_scales: Vec<f32>,
}

impl Case {
    fn new(seed: u64, rows: usize, n: usize, k: usize, with_bias: bool) -> Case {
        let packed = |format: WeightFormat| {
            let panel_bytes = panel_len(format, k) * format.element_bytes();
            let mut bytes = Bytes::new(panel_count(n) * panel_bytes);
            for (panel, out) in bytes.slice().chunks_exact_mut(panel_bytes).enumerate() {
                let value = |lane: usize, i: usize| noise(seed, (panel * PANEL + lane) * k + i);
                let count = PANEL.min(n - panel * PANEL);
                pack_values(format, out, &Values { count, inputs: k, value: &value }).unwrap();
            }
            (format, bytes)
        };
        let mut act_f32 = vec![0.0; rows * padded(k)];
        for r in 0..rows {
            for i in 0..k {
                act_f32[r * padded(k) + i] = noise(seed ^ 0xabcd, r * k + i);
            }
        }
        let act_bf16 = act_f32.iter().map(|x| bf16_operand(*x)).collect();
        let bias = with_bias
            .then(|| (0..padded(n)).map(|i| if i < n { noise(seed ^ 0x77, i) } else { 0.0 }).collect());
        let mut case = Case {
            n,
            k,
            panels: FORMATS.map(packed).into(),
            bias,
            act_int8: vec![Int8(0); act_f32.len()],
            act_f32,
            act_bf16,
            act_scales: vec![0.0; rows],
        };
        case.round_int8();
        case
    }

    /// Drops all activations but those of the first rows.
    fn keep_rows(&mut self, rows: usize) {
        let len = rows * padded(self.k);
        self.act_f32.truncate(len);
        self.act_bf16.truncate(len);
        self.act_int8.truncate(len);
        self.act_scales.truncate(rows);
    }

    /// Makes the 8-bit activations from those in f32.
    fn round_int8(&mut self) {
        let mut rotated = self.act_f32.clone();
        let rows = rotated.chunks_mut(padded(self.k)).zip(self.act_int8.chunks_mut(padded(self.k)));
        for ((x, out), scale) in rows.zip(&mut self.act_scales) {
            *scale = quantize::reference(self.k, x, out);
        }
    }

    fn operands(&self, format: WeightFormat) -> (Activations<'_>, Linear<'_>) {
        let act = match format.operands() {
            OperandFormat::F32 => Activations::F32(Rows::padded(&self.act_f32, self.k)),
            OperandFormat::Bf16 => Activations::Bf16(Rows::padded(&self.act_bf16, self.k)),
            OperandFormat::Int8 => Activations::Int8(Rows::padded(&self.act_int8, self.k), &self.act_scales),
        };
        let (_, bytes) = self.panels.iter().find(|(other, _)| *other == format).unwrap();
        let panels = Panels::from_bytes(format, bytes.as_slice()).unwrap();
        (act, Linear::new(self.n, self.k, panels, self.bias.as_deref()).unwrap())
    }

    /// The weight as a run of segments, each with its number of panels and its format.
    fn of_segments(&self, segments: &[(usize, WeightFormat)]) -> Option<Linear<'_>> {
        let (mut parts, mut first) = (Vec::new(), 0);
        for (panels, format) in segments {
            let (_, bytes) = self.panels.iter().find(|(other, _)| other == format).unwrap();
            let panel_bytes = panel_len(*format, self.k) * format.element_bytes();
            let bytes = &bytes.as_slice()[first * panel_bytes..][..panels * panel_bytes];
            let outputs = (panels * PANEL).min(self.n - first * PANEL);
            parts.push((outputs, Panels::from_bytes(*format, bytes).unwrap()));
            first += panels;
        }
        Linear::of_segments(self.k, &parts, self.bias.as_deref())
    }

    fn expected(&self, format: WeightFormat, r: usize, n: usize) -> f32 {
        // 12 bits give the bits of the bf16 weights that they hold.
        let (act, weight) = self.operands(format.numerics());
        let sum = weight.reference(act, r, n);
        self.bias.as_ref().map_or(sum, |bias| sum + bias[n])
    }

    fn product(&self, isa: Isa, format: WeightFormat, cuts: usize) -> Vec<f32> {
        let (act, weight) = self.operands(format);
        let mut out = vec![f32::NAN; act.count() * padded(self.n)];
        let shared = Shared::new(&mut out);
        let panels = weight.panel_count();
        let mut scratch = Bytes::new(scratch_bytes(act.count(), 2));
        for cut in 0..cuts {
            let range = panels * cut / cuts..panels * (cut + 1) / cuts;
            // SAFETY: one task at a time.
            unsafe {
                multiply(
                    isa,
                    act,
                    &weight,
                    range,
                    (Epilogue::Store(shared), padded(self.n)),
                    scratch.slice(),
                );
            }
        }
        out
    }
}

/// Bytes from a cache line on.
pub(crate) struct Bytes(Vec<Line>, usize);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Bytes {
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![Line([0xff; 64]); len.div_ceil(64)], len)
    }

    pub(crate) fn slice(&mut self) -> &mut [u8] {
        // SAFETY: lines are bytes.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.1) }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: lines are bytes.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }
}

const FORMATS: [WeightFormat; WeightFormat::STORED.len()] = WeightFormat::STORED;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn ragged_shapes_equal_the_reference(
        seed: u64, rows in 1_usize..70, n in 1_usize..100, k in 1_usize..200, cuts in 1_usize..5, bias: bool,
    ) {
        let case = Case::new(seed, rows, n, k, bias);
        for format in FORMATS {
            for isa in Isa::available().iter() {
                let out = case.product(*isa, format, cuts);
                for r in 0..rows {
                    for c in 0..padded(n) {
                        let expected = if c < n { case.expected(format, r, c) } else { 0.0 };
                        prop_assert_eq!(
                            out[r * padded(n) + c].to_bits(), expected.to_bits(),
                            "{} {:?} row {} column {}", isa.name(), format, r, c
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_run_of_segments_has_the_columns_of_each() {
    use WeightFormat::{Bf16, Bf16x12, F32, Int4, Int6, Int8};
    for (rows, k) in [(1, 70), (9, 200), (40, 333)] {
        let case = Case::new(5, rows, 5 * PANEL + 7, k, true);
        for segments in
            [vec![(2, Int4), (4, Int8)], vec![(1, Int8), (3, Int4), (2, Int6)], vec![(4, Bf16), (2, Bf16x12)]]
        {
            let weight = case.of_segments(&segments).unwrap();
            assert_eq!(weight.panel_count(), 6);
            let format_of: Vec<_> =
                segments.iter().flat_map(|(panels, format)| vec![*format; *panels]).collect();
            let bytes: usize =
                format_of.iter().map(|format| panel_len(*format, k) * format.element_bytes()).sum();
            assert_eq!(weight.bytes(), bytes);
            let (act, _) = case.operands(segments[0].1);
            let stride = padded(case.n);
            for isa in Isa::available().iter() {
                for cuts in [vec![0, 6], vec![0, 1, 3, 5, 6], vec![0, 4, 6]] {
                    let mut out = vec![f32::NAN; rows * stride];
                    let shared = Shared::new(&mut out);
                    let mut scratch = Bytes::new(scratch_bytes(rows, 2));
                    for cut in cuts.windows(2) {
                        let epilogue = (Epilogue::Store(shared), stride);
                        // SAFETY: one task at a time.
                        unsafe { multiply(*isa, act, &weight, cut[0]..cut[1], epilogue, scratch.slice()) };
                    }
                    for (i, x) in out.iter().enumerate().filter(|(i, _)| i % stride < case.n) {
                        let (r, c) = (i / stride, i % stride);
                        let expected = case.expected(format_of[c / PANEL], r, c);
                        assert_eq!(x.to_bits(), expected.to_bits(), "{} [{r}, {c}]", isa.name());
                        let bias = case.bias.as_ref().unwrap()[c];
                        assert_eq!((weight.reference(act, r, c) + bias).to_bits(), expected.to_bits());
                    }
                }
            }
            let (mut column, mut of_one) = (vec![0.0; k], vec![0.0; k]);
            for (c, format) in format_of.iter().enumerate().map(|(panel, format)| (panel * PANEL + 3, format))
            {
                weight.read_column(c, &mut column);
                case.operands(*format).1.read_column(c, &mut of_one);
                assert_eq!(column, of_one);
            }
        }
        assert!(case.of_segments(&[(2, F32), (4, Bf16)]).is_none(), "their activations differ");
        assert!(case.of_segments(&[(2, Int4), (3, Int8)]).is_none(), "the bias is longer");
        assert!(case.of_segments(&[]).is_none());
        let (_, whole) = case.panels.iter().find(|(format, _)| *format == F32).unwrap();
        let whole = Panels::from_bytes(F32, whole.as_slice()).unwrap();
        let outputs = |outputs| Linear::of_segments(k, &[(outputs, whole), (0, Panels::F32(&[]))], None);
        assert!(outputs(6 * PANEL).is_some() && outputs(6 * PANEL - 1).is_none(), "a panel is shared");
    }
}

/// Products of a real shape with 128, 32 and one row, by weights that are packed once.
fn real_shape(k: usize, n: usize, column_step: usize) {
    let mut case = Case::new(7, 128, n, k, false);
    for rows in [128, 32, 1] {
        case.keep_rows(rows);
        equals_the_reference(&case, rows, column_step);
    }
}

fn equals_the_reference(case: &Case, rows: usize, column_step: usize) {
    let n = case.n;
    for format in FORMATS {
        let row_step = if column_step == 1 { 1 } else { 13 };
        // Portable code is the reference's own arithmetic at a hundredth of the speed: one
        // panel of it is enough here, the drawn shapes cover it whole.
        let isas = Isa::available();
        let outs: Vec<_> = isas.iter().skip(1).map(|isa| (isa, case.product(*isa, format, 3))).collect();
        for r in (0..rows).step_by(row_step) {
            let edges = (0..n).step_by(PANEL * 16).flat_map(|c| [c, c + PANEL - 1]);
            for c in (0..n).step_by(column_step).chain(edges.filter(|c| *c < n)).chain([n - 1]) {
                let expected = case.expected(format, r, c);
                for (isa, out) in &outs {
                    let got = out[r * padded(n) + c];
                    assert_eq!(got.to_bits(), expected.to_bits(), "{} {format:?} [{r}, {c}]", isa.name());
                }
            }
        }
    }
}

#[test]
fn slices_blocks_and_what_is_left_of_them_equal_the_reference() {
    for (rows, n, k) in [(33, 40, 700), (70, 33, 1090), (65, 70, 550)] {
        equals_the_reference(&Case::new(7, rows, n, k, false), rows, 1);
    }
    for k in [127, 128, 129, 255, 290, 385] {
        for rows in 5..=8 {
            equals_the_reference(&Case::new(7, rows, 40, k, false), rows, 1);
        }
    }
    for k in [1, 33, 96, 160, 545] {
        equals_the_reference(&Case::new(7, 1, 40, k, false), 1, 1);
    }
}

const REAL_SHAPES: [(usize, usize); 5] =
    [(2048, 2048), (2048, 256), (2048, 5632), (5632, 2048), (2048, 32000)];

#[test]
fn real_shapes_equal_the_reference_at_sampled_columns() {
    for (k, n) in REAL_SHAPES {
        real_shape(k, n, 997);
    }
}

#[test]
#[ignore = "every element of the real shapes: minutes"]
fn real_shapes_equal_the_reference_everywhere() {
    for (k, n) in REAL_SHAPES {
        real_shape(k, n, 1);
    }
}

#[test]
fn the_reference_is_a_dot_product() {
    let case = Case::new(3, 2, 40, 333, false);
    for format in FORMATS {
        let (act, weight) = case.operands(format);
        let mut column = vec![0.0; 333];
        for c in [0, 31, 39] {
            weight.read_column(c, &mut column);
            if format.operands() == OperandFormat::Int8 {
                rotation::rows::reference(&mut column);
            }
            let exact: f64 = (0..333)
                .map(|k| {
                    let a = match act {
                        Activations::F32(rows) => rows.row(1)[k],
                        Activations::Bf16(rows) => rows.row(1)[k].to_f32(),
                        Activations::Int8(rows, scales) => (f32::from(rows.row(1)[k].0) - 128.0) * scales[1],
                    };
                    f64::from(a) * f64::from(column[k])
                })
                .sum();
            let got = f64::from(case.expected(format, 1, c));
            assert!((got - exact).abs() < 1e-5, "{format:?} {got} {exact}");
        }
    }
}

#[test]
fn epilogues_add_and_gate() {
    // Three panels of gate and three of up columns, interleaved; a tile of rows, more than one, and
    // more than one block.
    for (rows, k) in [(5, 48), (17, 48), (70, 200)] {
        epilogues(rows, k);
    }
}

fn epilogues(rows: usize, k: usize) {
    let case = Case::new(11, rows, 6 * PANEL, k, false);
    struct Gate([f32; LANES], [f32; LANES]);
    impl SimdOp for Gate {
        type Output = [f32; LANES];
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> [f32; LANES] {
            s.to_array(s.mul(silu(s, s.lanes_of(self.0)), s.lanes_of(self.1)))
        }
    }
    for format in FORMATS {
        let plain = case.product(Isa::PORTABLE, format, 1);
        let (act, weight) = case.operands(format);
        for isa in Isa::available().iter() {
            let mut scratch = Bytes::new(scratch_bytes(rows, 2));
            let scratch = scratch.slice();
            let mut added = vec![1.5; plain.len()];
            let mut gated = vec![0.0; rows * 3 * PANEL];
            let mut gated_bf16 = vec![bf16::ZERO; rows * 3 * PANEL];
            // SAFETY: one task at a time.
            unsafe {
                let out = (Epilogue::Add(Shared::new(&mut added)), 6 * PANEL);
                multiply(*isa, act, &weight, 0..6, out, scratch);
                let out = (Epilogue::SwigluF32(Shared::new(&mut gated)), 3 * PANEL);
                multiply(*isa, act, &weight, 0..3, out, scratch);
                let out = (Epilogue::SwigluBf16(Shared::new(&mut gated_bf16)), 3 * PANEL);
                multiply(*isa, act, &weight, 0..3, out, scratch);
            }
            for (a, p) in added.iter().zip(&plain) {
                assert_eq!(a.to_bits(), (1.5 + p).to_bits());
            }
            for r in 0..rows {
                for panel in 0..3 {
                    for half in 0..2 {
                        let at = |p: usize| r * 6 * PANEL + p * PANEL + half * LANES;
                        let lanes = |start: usize| core::array::from_fn(|i| plain[start + i]);
                        let expected =
                            Isa::PORTABLE.run(Gate(lanes(at(2 * panel)), lanes(at(2 * panel + 1))));
                        for i in 0..LANES {
                            let out = r * 3 * PANEL + panel * PANEL + half * LANES + i;
                            assert_eq!(gated[out].to_bits(), expected[i].to_bits());
                            assert_eq!(gated_bf16[out].to_bits(), bf16_operand(expected[i]).to_bits());
                        }
                    }
                }
            }
        }
    }
}

/// The relative RMS error of a layer's outputs in int8 against f64, where some of the input's
/// channels are 50 times larger than the others.
fn int8_error_with_outliers(seed: u64, k: usize, outliers: &[usize]) -> f64 {
    let (n, rows) = (64, 16);
    let mut case = Case::new(seed, rows, n, k, false);
    for row in case.act_f32.chunks_mut(padded(k)) {
        outliers.iter().for_each(|i| row[*i] *= 50.0);
    }
    case.round_int8();
    let out = case.product(Isa::detect(), WeightFormat::Int8, 1);
    let (mut error, mut power) = (0.0, 0.0);
    for r in 0..rows {
        for c in 0..n {
            let act = &case.act_f32[r * padded(k)..];
            let exact: f64 = (0..k).map(|i| f64::from(act[i]) * f64::from(noise(seed, c * k + i))).sum();
            error += (f64::from(out[r * padded(n) + c]) - exact).powi(2);
            power += exact.powi(2);
        }
    }
    (error / power).sqrt()
}

#[test]
fn large_channels_among_the_activations_do_not_spoil_int8() {
    for k in [896, 2048, 5632] {
        for seed in 0..3 {
            // One in a hundred: anywhere, and at equal distances.
            let mut order: Vec<usize> = (0..k).collect();
            order.sort_by(|a, b| noise(seed ^ 0x1234, *a).total_cmp(&noise(seed ^ 0x1234, *b)));
            let apart: Vec<usize> = (0..k / 100).map(|i| i * 100 + 7).collect();
            for outliers in [&order[..k / 100], &apart] {
                let error = int8_error_with_outliers(seed, k, outliers);
                std::println!("{k} inputs: relative error {error:.4}");
                assert!(error <= 0.015, "{k} {error}");
            }
        }
    }
}

/// Stored columns that are multiplied as they are are not dequantized for further tiles: a matter
/// of time alone, which no bits would show.
#[test]
fn columns_are_multiplied_as_stored_where_nothing_is_widened() {
    struct Stored;
    impl SimdOp for Stored {
        type Output = ();
        #[inline(always)]
        fn eval<S: InstructionSet>(self, _: S) {
            assert!(dequantized_as_stored::<S, f32>());
            assert_eq!(dequantized_as_stored::<S, bf16>(), S::STRATEGY.pairs_factor == 1);
            assert_eq!(dequantized_as_stored::<S, Int8>(), S::STRATEGY.quads_factor == 1);
        }
    }
    for isa in Isa::available().iter() {
        isa.run(Stored);
    }
}
