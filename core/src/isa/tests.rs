//! Every instruction set against the portable definition, operation by operation, bit by bit.
use super::grouped::{Group as WeightGroup, GroupBits};
use super::*;
use crate::dtype::{FLUSH_BELOW, Int4, Int5, Int6, Int8, bf16_operand};
use core::marker::PhantomData;
use half::bf16;
use std::vec::Vec;

/// Asks Linux for the matrix unit's state, once.
pub(super) fn allow_matrix_unit() {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let mut result: i64 = 158; // arch_prctl
            // SAFETY: the call changes nothing but what this process may use; ARCH_REQ_XCOMP_PERM,
            // XFEATURE_XTILEDATA.
            unsafe {
                core::arch::asm!("syscall", inout("rax") result, in("rdi") 0x1023_u64, in("rsi") 18_u64,
                    out("rcx") _, out("r11") _);
                if result == 0 {
                    Isa::allow_matrix_unit();
                }
            }
        });
    }
}

struct Draw(u64);

impl Draw {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Any bits at all, or an ordinary magnitude, or an edge.
    fn float(&mut self) -> f32 {
        let edges =
            [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, FLUSH_BELOW, -FLUSH_BELOW];
        match self.word() % 4 {
            0 => f32::from_bits(self.word() as u32),
            1 => edges[self.word() as usize % edges.len()],
            _ => (self.word() as i32 as f32) * 2f32.powi((self.word() % 60) as i32 - 60),
        }
    }
}

/// All operations on one set of inputs, as bits; NaN counts as one value.
struct Everything<'a> {
    a: [f32; 16],
    b: [f32; 16],
    c: [f32; 16],
    out: &'a mut Vec<u32>,
}

impl SimdOp for Everything<'_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (a, b, c) = (s.lanes_of(self.a), s.lanes_of(self.b), s.lanes_of(self.c));
        let small_n = s.lanes_of(core::array::from_fn(|i| (self.a[i].to_bits() % 250) as f32 - 125.0));
        let positive = s.lanes_of(core::array::from_fn(|i| {
            f32::from_bits((self.b[i].to_bits() & 0x7fff_ffff).clamp(0x0080_0000, 0x7f7f_ffff))
        }));
        let (m, e) = s.split_exponent(positive);
        let vectors = [
            s.add(a, b),
            s.sub(a, b),
            s.mul(a, b),
            s.div(a, b),
            s.fma(a, b, c),
            s.max(a, b),
            s.min(a, b),
            s.select_lt(a, b, c, a),
            s.abs(a),
            s.scale_by_power_of_two(c, small_n),
            m,
            e,
        ];
        for v in vectors {
            self.out.extend(s.to_array(v).map(canonical));
        }
        self.out.push(canonical(s.sum_lanes(a)));
        self.out.push(canonical(s.max_lanes(a)));
        let mut narrow = [bf16::ZERO; 16];
        slices::store_bf16(s, &mut narrow, a);
        // SAFETY: 16 bf16.
        let wide = unsafe { s.load_bf16(narrow.as_ptr()) };
        self.out.extend(s.to_array(wide).map(canonical));
    }
}

fn canonical(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

#[test]
fn every_instruction_set_equals_the_portable_one_on_every_operation() {
    let mut draw = Draw(0x1234_5678_9abc_def1);
    for _ in 0..4000 {
        let [a, b, c] = core::array::from_fn(|_| core::array::from_fn(|_| draw.float()));
        let mut expected = Vec::new();
        Everything { a, b, c, out: &mut expected }.eval(Portable);
        for isa in Isa::available().iter() {
            let mut got = Vec::new();
            isa.run(Everything { a, b, c, out: &mut got });
            assert_eq!(got, expected, "{} on a={a:?} b={b:?} c={c:?}", isa.name());
        }
    }
}

#[test]
fn bf16_stores_flush_and_round_as_dtype_says() {
    struct Narrow([f32; 16]);
    impl SimdOp for Narrow {
        type Output = [bf16; 16];
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> [bf16; 16] {
            let mut out = [bf16::ZERO; 16];
            slices::store_bf16(s, &mut out, s.lanes_of(self.0));
            out
        }
    }
    let mut draw = Draw(77);
    for _ in 0..4000 {
        let x: [f32; 16] = core::array::from_fn(|_| draw.float());
        for isa in Isa::available().iter() {
            let got = isa.run(Narrow(x));
            for i in 0..16 {
                assert_eq!(got[i].to_bits(), bf16_operand(x[i]).to_bits(), "{} {:e}", isa.name(), x[i]);
            }
        }
    }
}

#[test]
fn the_pair_product_is_two_fmas_odd_first_on_every_instruction_set() {
    struct Dot<'a>(&'a [bf16; 32], &'a [bf16; 32], [f32; 16]);
    impl SimdOp for Dot<'_> {
        type Output = [f32; 16];
        #[inline(always)]
        fn eval<S: InstructionSet>(self, s: S) -> [f32; 16] {
            // SAFETY: 32 bf16 each.
            let (a, b) = unsafe { (s.load_pairs(self.0.as_ptr()), s.load_pairs(self.1.as_ptr())) };
            s.to_array(s.dot_pairs(a, b, s.lanes_of(self.2)))
        }
    }
    let mut draw = Draw(99);
    let mut acc = [0.0_f32; 16];
    for round in 0..20_000 {
        if round % 50 == 0 {
            acc = [0.0; 16];
        }
        let [a, b]: [[bf16; 32]; 2] = core::array::from_fn(|_| {
            core::array::from_fn(|_| {
                let x = draw.float();
                bf16_operand(if x.is_finite() && x.abs() < 1e6 { x } else { 0.5 })
            })
        });
        let expected = Dot(&a, &b, acc).eval(Portable);
        for isa in Isa::available().iter() {
            let got = isa.run(Dot(&a, &b, acc));
            assert_eq!(got.map(f32::to_bits), expected.map(f32::to_bits), "{}", isa.name());
        }
        acc = expected;
    }
}

#[test]
fn the_soft_fma_rounds_once() {
    // `f32::mul_add` is correctly rounded wherever std is; here it is the judge, and never what is
    // judged.
    #[allow(clippy::disallowed_methods)]
    let judge = |a: f32, b: f32, c: f32| a.mul_add(b, c);
    let mut draw = Draw(5);
    for _ in 0..400_000 {
        let (a, b, c) = (draw.float(), draw.float(), draw.float());
        assert_eq!(
            canonical(portable::soft_fma(a, b, c)),
            canonical(judge(a, b, c)),
            "{a:e} * {b:e} + {c:e}"
        );
    }
}

/// Rows written as columns, a few bytes apart.
struct Transposed<'a>(&'a [[u8; 64]; 16], &'a mut [u8; 16 * 70]);

impl SimdOp for Transposed<'_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        slices::store_transposed(s, self.0.as_flattened(), 64, self.1, 70);
    }
}

#[test]
fn rows_become_columns() {
    let rows: [[u8; 64]; 16] =
        core::array::from_fn(|i| core::array::from_fn(|b| (i * 64 + b) as u8 ^ (i as u8) << 3));
    for isa in Isa::available().iter() {
        let mut out = [0xaa; 16 * 70];
        isa.run(Transposed(&rows, &mut out));
        for (j, line) in out.chunks(70).enumerate() {
            for (i, row) in rows.iter().enumerate() {
                assert_eq!(line[4 * i..4 * i + 4], row[4 * j..4 * j + 4], "{} [{i}, {j}]", isa.name());
            }
            assert_eq!(line[64..], [0xaa; 6], "{}", isa.name());
        }
    }
}

#[test]
fn paths_are_found_by_name() {
    assert_eq!(Isa::from_name("portable"), Some(Isa::PORTABLE));
    assert_eq!(Isa::from_name("auto"), Some(Isa::detect()));
    assert_eq!(Isa::from_name("sse9"), None);
    for isa in Isa::available().iter() {
        assert_eq!(Isa::from_name(isa.name()), Some(*isa));
    }
}

/// Numbers below what is asked, the same for each seed.
fn draws(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Quads at their extremes: 16-bit sums of products, as `vpmaddubsw` makes them, would saturate.
struct Quads<'a>(&'a [Int8; 4], &'a [Int8; 64], &'a [i32; 16]);

impl SimdOp for Quads<'_> {
    type Output = [f32; LANES];
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) -> [f32; LANES] {
        // SAFETY: the arrays are 4 and 64 elements, and 16 integers.
        let (row, columns, sums) = unsafe {
            (s.splat_quad(self.0.as_ptr()), s.load_quads(self.1.as_ptr()), s.load_ints(self.2.as_ptr()))
        };
        s.to_array(s.ints_to_floats(s.dot_quads(row, columns, sums)))
    }
}

#[test]
fn products_of_quads_are_exact_at_their_extremes() {
    let extremes = [0_u8, 1, 127, 128, 129, 254, 255];
    let mut numbers = draws(7);
    let mut draw = || Int8(extremes[numbers(extremes.len() as u64) as usize]);
    for round in 0..500 {
        let row: [Int8; 4] = if round == 0 { [Int8(255); 4] } else { core::array::from_fn(|_| draw()) };
        let columns: [Int8; 64] = if round == 0 { [Int8(128); 64] } else { core::array::from_fn(|_| draw()) };
        let sums: [i32; 16] = core::array::from_fn(|i| (i as i32 - 8) * 1_000_003);
        let expected: [f32; 16] = core::array::from_fn(|i| {
            let product = |j: usize| i64::from(row[j].0) * i64::from(columns[4 * i + j].0 as i8);
            (i64::from(sums[i]) + (0..4).map(product).sum::<i64>()) as f32
        });
        for isa in Isa::available().iter() {
            assert_eq!(isa.run(Quads(&row, &columns, &sums)), expected, "{}", isa.name());
        }
    }
}

/// A group of weights times a row, by scaled sums or, where an instruction set has none, by scaled
/// weights.
struct Group<'a, G>(&'a [Int8; 32], WeightGroup<'a>, &'a [i32; 2 * LANES], PhantomData<G>);

impl<G: GroupBits> SimdOp for Group<'_, G> {
    type Output = [[f32; LANES]; 2];
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) -> [[f32; LANES]; 2] {
        let Self(row, group, first, _) = self;
        let mut sums = [0, 1].map(|half| slices::load_ints(s, &first.as_chunks().0[half]));
        if G::HIGH == 0 && S::STRATEGY.int4_scales_sums {
            sums = s.add_int4_group(row, group, sums);
        } else {
            for (half, sums) in sums.iter_mut().enumerate() {
                let scales = s.load_group_scales::<G>(group.scales(half));
                for (pair, row) in row.chunks(8).enumerate() {
                    let plane = group.plane::<G>(pair, half);
                    let (low, high) = s.load_group_quads::<G>(group.quads(pair, half), plane, scales);
                    // SAFETY: 8 elements of the row.
                    let rows = unsafe { [s.splat_quad(row.as_ptr()), s.splat_quad(row.as_ptr().add(4))] };
                    *sums = s.dot_quads(rows[0], low, *sums);
                    *sums = s.dot_quads(rows[1], high, *sums);
                }
            }
        }
        sums.map(|sums| s.to_array(s.ints_to_floats(sums)))
    }
}

#[test]
fn a_group_of_weights_is_exact_at_its_extremes() {
    extremes_of_a_group::<Int4>();
    extremes_of_a_group::<Int5>();
    extremes_of_a_group::<Int6>();
}

fn extremes_of_a_group<G: GroupBits>() {
    let first: [i32; 2 * LANES] = core::array::from_fn(|i| i as i32 * 7 - 100);
    let (scale_max, weight_max) = (u64::from(G::SCALE_MAX), u64::from(G::WEIGHT_MAX));
    let mut draw = draws(11);
    for round in 0..300 {
        let row: [Int8; 32] = core::array::from_fn(|_| {
            Int8(if round % 4 == 0 || draw(2) == 0 { 255 } else { draw(256) as u8 })
        });
        // Every `s (q − z)` must be an 8-bit number, as a packer sees to.
        let scales: [u8; 32] = core::array::from_fn(|_| {
            let s = if round < 2 { scale_max } else { 1 + draw(scale_max) };
            let zeros = (0..=weight_max).filter(|z| s * z <= 128 && s * (weight_max - z) <= 127);
            let zeros: Vec<u64> = zeros.collect();
            (s | zeros[draw(zeros.len() as u64) as usize] << G::SCALE_BITS) as u8
        });
        let mut byte = || if round == 0 || draw(4) == 0 { 255 * draw(2) as u8 } else { draw(256) as u8 };
        let weights: [u8; 512] = core::array::from_fn(|_| byte());
        let high: Vec<u8> = (0..128 * G::HIGH).map(|_| byte()).collect();
        let group = WeightGroup { scales: &scales, weights: &weights, high: &high };
        let weight = |column: usize, i: usize| {
            let (half, lane, quad) = (column / LANES, column % LANES, i / 4);
            let low = weights[128 * (i / 8) + 64 * half + 4 * lane + i % 4] >> (4 * (quad % 2)) & 15;
            if G::HIGH == 0 {
                return low;
            }
            let planes = 64 * G::HIGH * half + 64 * (quad * G::HIGH / 8);
            let bits = high[planes + 4 * lane + i % 4] >> (quad * G::HIGH % 8);
            low | (bits & ((1 << G::HIGH) - 1)) << 4
        };
        let expected = [0, 1].map(|half| {
            core::array::from_fn(|lane| {
                let column = 16 * half + lane;
                let (s, z) = (scales[column] & G::SCALE_MAX, scales[column] >> G::SCALE_BITS);
                let product = |i: usize| {
                    i32::from(row[i].0) * i32::from(s) * (i32::from(weight(column, i)) - i32::from(z))
                };
                ((0..32).map(product).sum::<i32>() + first[column]) as f32
            })
        });
        for isa in Isa::available().iter() {
            let got = isa.run(Group(&row, group, &first, PhantomData::<G>));
            assert_eq!(got, expected, "{} {} bits", isa.name(), G::BITS);
        }
    }
}

#[test]
fn weights_in_12_bits_are_for_as_many_sequences_as_were_measured_to_gain() {
    for (level, sequences) in
        [(Level::Portable, 0), (Level::Avx2, 0), (Level::Neon, 0), (Level::Avx512, 4), (Level::Avx512Bf16, 4)]
    {
        assert_eq!(Isa::at(level).bf16_12_sequences(), sequences);
    }
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    for isa in Isa::available().iter().filter(|isa| isa.name().starts_with("avx512")) {
        let expected = if x86_detect::features().zen5 { usize::MAX } else { 4 };
        assert_eq!(isa.bf16_12_sequences(), expected, "{isa:?}");
    }
}
