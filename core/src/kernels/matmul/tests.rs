//! Every path's product against the reference, bit by bit: ragged shapes drawn, real shapes
//! sampled.
use super::coded;
use super::int4::pack_int4;
use super::micro::kept_as_stored;
use super::pack::{pack_bf16, pack_f32, pack_int8};
use super::panel::{Linear, PANEL, Panels, panel_count, panel_len};
use super::product::{Activations, Epilogue, multiply, scratch_bytes};
use super::reference::{element_bf16, element_f32, element_int8};
use crate::dtype::{Bf16x12, Int4, Int8, OperandFormat, WeightFormat, bf16_operand};
use crate::isa::{InstructionSet, Isa, LANES, SimdOp};
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
    f32_panels: Vec<f32>,
    bf16_panels: Vec<bf16>,
    int8_panels: Vec<Int8>,
    int4_panels: Vec<Int4>,
    coded_panels: Vec<Bf16x12>,
    bias: Option<Vec<f32>>,
    act_f32: Vec<f32>,
    act_bf16: Vec<bf16>,
    act_int8: Vec<Int8>,
    act_scales: Vec<f32>,
}

impl Case {
    fn new(seed: u64, rows: usize, n: usize, k: usize, with_bias: bool) -> Case {
        let panels = panel_count(n);
        let mut f32_panels = vec![0.0; panels * panel_len(WeightFormat::F32, k)];
        let mut bf16_panels = vec![bf16::ZERO; panels * panel_len(WeightFormat::Bf16, k)];
        let mut int8_panels = vec![Int8(0); panels * panel_len(WeightFormat::Int8, k)];
        let mut coded_panels = vec![Bf16x12(0); panels * panel_len(WeightFormat::Bf16Coded, k)];
        let mut int4_panels = vec![Int4(0); panels * panel_len(WeightFormat::Int4, k)];
        let mut weight = vec![0.0; PANEL * k];
        for panel in 0..panels {
            for (i, w) in weight.iter_mut().enumerate() {
                *w = noise(seed, panel * PANEL * k + i);
            }
            let row = |lane: usize| (panel * PANEL + lane < n).then(|| &weight[lane * k..][..k]);
            let len = panel_len(WeightFormat::F32, k);
            pack_f32(&mut f32_panels[panel * len..][..len], k, row);
            let len = panel_len(WeightFormat::Bf16, k);
            pack_bf16(&mut bf16_panels[panel * len..][..len], k, row);
            let raw = &bf16_panels[panel * len..][..len];
            let len = coded::coded_len(k);
            coded::encode(k, |i| raw[i], &mut coded_panels[panel * len..][..len]).unwrap();
            let len = panel_len(WeightFormat::Int8, k);
            let value = |lane: usize, i: usize| row(lane).map_or(0.0, |row| row[i]);
            pack_int8(&mut int8_panels[panel * len..][..len], k, value);
            let len = panel_len(WeightFormat::Int4, k);
            pack_int4(&mut int4_panels[panel * len..][..len], k, value);
        }
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
            f32_panels,
            bf16_panels,
            int8_panels,
            int4_panels,
            coded_panels,
            bias,
            act_int8: vec![Int8(0); act_f32.len()],
            act_f32,
            act_bf16,
            act_scales: vec![0.0; rows],
        };
        case.round_int8();
        case
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
        let (act, panels) = match format {
            WeightFormat::F32 => {
                (Activations::F32(Rows::padded(&self.act_f32, self.k)), Panels::F32(&self.f32_panels))
            }
            WeightFormat::Bf16 => {
                (Activations::Bf16(Rows::padded(&self.act_bf16, self.k)), Panels::Bf16(&self.bf16_panels))
            }
            WeightFormat::Int8 => {
                let act = Activations::Int8(Rows::padded(&self.act_int8, self.k), &self.act_scales);
                (act, Panels::Int8(&self.int8_panels))
            }
            WeightFormat::Bf16Coded => {
                (Activations::Bf16(Rows::padded(&self.act_bf16, self.k)), Panels::Coded(&self.coded_panels))
            }
            WeightFormat::Int4 => {
                let act = Activations::Int8(Rows::padded(&self.act_int8, self.k), &self.act_scales);
                (act, Panels::Int4(&self.int4_panels))
            }
        };
        (act, Linear::new(self.n, self.k, panels, self.bias.as_deref()).unwrap())
    }

    fn expected(&self, format: WeightFormat, r: usize, n: usize) -> f32 {
        // What is coded gives the bits of what it was made from.
        let (act, weight) = self.operands(format.numerics());
        let sum = match act {
            Activations::F32(rows) => element_f32(rows.row_padded(r), &weight, n),
            Activations::Bf16(rows) => element_bf16(rows.row_padded(r), &weight, n),
            Activations::Int8(rows, scales) => element_int8(rows.row(r), scales[r], &weight, n),
        };
        self.bias.as_ref().map_or(sum, |bias| sum + bias[n])
    }

    fn product(&self, isa: Isa, format: WeightFormat, cuts: usize) -> Vec<f32> {
        let (act, weight) = self.operands(format);
        let mut out = vec![f32::NAN; act.count() * padded(self.n)];
        let shared = Shared::new(&mut out);
        let panels = weight.panel_count();
        let mut scratch = Scratch::new(act.count());
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
                    scratch.bytes(),
                );
            }
        }
        out
    }
}

/// Aligned bytes in which panels are unpacked.
struct Scratch(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Scratch {
    fn new(rows: usize) -> Self {
        Self(vec![Line([0xff; 64]); scratch_bytes(rows, 2) / 64])
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: lines are bytes.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }
}

const FORMATS: [WeightFormat; 5] = WeightFormat::STORED;

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

fn real_shape(k: usize, n: usize, rows: usize, column_step: usize) {
    let case = Case::new(7, rows, n, k, false);
    for format in FORMATS {
        let row_step = if column_step == 1 { 1 } else { 13 };
        // The portable path is the reference's own arithmetic at a hundredth of the speed: one
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
        real_shape(k, n, rows, 1);
    }
    for k in [127, 128, 129, 255, 290, 385] {
        for rows in 5..=8 {
            real_shape(k, 40, rows, 1);
        }
    }
    for k in [1, 33, 96, 160, 545] {
        real_shape(k, 40, 1, 1);
    }
}

const REAL_SHAPES: [(usize, usize); 5] =
    [(2048, 2048), (2048, 256), (2048, 5632), (5632, 2048), (2048, 32000)];

#[test]
fn real_shapes_equal_the_reference_at_sampled_columns() {
    for (k, n) in REAL_SHAPES {
        for rows in [1, 32, 128] {
            real_shape(k, n, rows, 997);
        }
    }
}

#[test]
#[ignore = "every element of the real shapes: minutes"]
fn real_shapes_equal_the_reference_everywhere() {
    for (k, n) in REAL_SHAPES {
        for rows in [1, 32, 128] {
            real_shape(k, n, rows, 1);
        }
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
        fn eval<S: InstructionSet>(self, s: S) -> [f32; LANES] {
            s.to_array(s.mul(silu(s, s.lanes_of(self.0)), s.lanes_of(self.1)))
        }
    }
    for format in FORMATS {
        let plain = case.product(Isa::PORTABLE, format, 1);
        let (act, weight) = case.operands(format);
        for isa in Isa::available().iter() {
            let mut scratch = Scratch::new(rows);
            let scratch = scratch.bytes();
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

/// What is kept as it is stored is not kept again for further tiles: a matter of time alone, which
/// no bits would show.
#[test]
fn columns_are_kept_as_stored_where_a_path_widens_nothing() {
    struct Stored;
    impl SimdOp for Stored {
        type Output = ();
        #[inline(always)]
        fn eval<S: InstructionSet>(self, _: S) {
            assert!(kept_as_stored::<S, f32>());
            assert_eq!(kept_as_stored::<S, bf16>(), S::STRATEGY.pairs_factor == 1);
            assert_eq!(kept_as_stored::<S, Int8>(), S::STRATEGY.quads_factor == 1);
        }
    }
    for isa in Isa::available().iter() {
        isa.run(Stored);
    }
}
