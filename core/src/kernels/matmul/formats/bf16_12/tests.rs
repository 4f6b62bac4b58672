//! Every 12-bit bf16 weight decodes to the bf16 weight that was packed, on every instruction set.
use super::*;
use crate::isa::{Isa, SimdOp};
use crate::kernels::matmul::micro::Element;
use crate::kernels::matmul::pack::{PackError, pack_values};
use crate::kernels::matmul::source::float::Values;
use crate::kernels::matmul::tests::noise;
use crate::memory::bytes_mut;
use crate::tensor::Rows;
use std::vec;
use std::vec::Vec;

fn packed(k: usize, value: &dyn Fn(usize, usize) -> f32) -> Result<Vec<Bf16x12>, PackError> {
    let mut panel = vec![Bf16x12(0xaa); Bf16x12::panel_len(k)];
    let rows = Values { count: PANEL, inputs: k, value };
    pack_values(WeightFormat::Bf16x12, bytes_mut(&mut panel), &rows)?;
    Ok(panel)
}

fn packed_plainly(k: usize, value: &dyn Fn(usize, usize) -> f32) -> Vec<bf16> {
    let mut panel = vec![bf16::ONE; bf16::panel_len(k)];
    bf16::pack_plainly(&mut panel, k, value);
    panel
}

/// Leaves a panel's columns dequantized: those of 12-bit bf16 first, then those of bf16.
struct Dequantize<'a> {
    k: usize,
    panel: &'a [Bf16x12],
    plain: &'a [bf16],
    out: [&'a mut [bf16]; 2],
}

impl SimdOp for Dequantize<'_> {
    /// Elements that were written.
    type Output = usize;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) -> usize {
        let Self { k, panel, plain, out: [out, expected] } = self;
        let step_len = <bf16 as Element<S>>::DEQUANTIZED_LEN;
        let row = vec![bf16::ONE; k.next_multiple_of(BLOCK_INPUTS)];
        let rows = TileRows::<_, 1>::new(Rows::new(&row, row.len(), row.len()), 0, 0, row.len());
        let mut sums = [<bf16 as Weight<S>>::begin(s, plain)];
        let slice = Slice { panel: plain, k, first: 0, len: k };
        bf16::accumulate::<1, true>(s, slice, &mut (), rows, &mut sums, expected, Ahead::NOTHING);
        let slice = Slice { panel, k, first: 0, len: k };
        let mut escapes = Escapes::of(k, panel);
        Bf16x12::accumulate::<1, true>(s, slice, &mut escapes, rows, &mut sums, out, Ahead::NOTHING);
        plain.len() / PAIR * step_len
    }
}

fn dequantized_len(k: usize) -> usize {
    2 * k.next_multiple_of(BLOCK_INPUTS) * PANEL
}

#[test]
fn every_instruction_set_gives_back_every_bit() {
    for k in [1, 2, 3, 4, 5, 31, 64, 172, 1000] {
        // Normal noise; and with outliers, zeros and rare tiny ones, as far as the escapes go.
        let noisy = |lane: usize, i: usize| noise(k as u64, i * PANEL + lane);
        let odd = |lane: usize, i: usize| match (i * PANEL + lane) % 701 {
            0 => 1e30,
            1 => -1e-12,
            2..9 => 0.0,
            _ => noise(3, i * PANEL + lane),
        };
        let values: [&dyn Fn(usize, usize) -> f32; 3] = [&noisy, &odd, &|_, _| 0.0];
        for value in values {
            let panel = packed(k, value).expect("few exponents");
            let plain = packed_plainly(k, value);
            for isa in Isa::available().iter() {
                let len = dequantized_len(k);
                let (mut out, mut expected) = (vec![bf16::ONE; len], vec![bf16::ONE; len]);
                let op = Dequantize { k, panel: &panel, plain: &plain, out: [&mut out, &mut expected] };
                let len = isa.run(op);
                assert!(out[..len] == expected[..len], "{} k {k}", isa.name());
                assert!(out[len..].iter().all(|x| x.to_bits() & 0x7f == 0));
            }
            for lane in [0, 7, 15, 16, 31] {
                let mut column = vec![9.0; k];
                Bf16x12::read_column(&panel, lane, &mut column);
                for (i, x) in column.iter().enumerate() {
                    assert_eq!(*x, plain[plain_offset(lane, i, 2)].to_f32(), "k {k} lane {lane}");
                }
            }
        }
    }
}

#[test]
fn exponents_that_a_first_look_misses_are_found() {
    let k = 256;
    let one_pair = |_: usize, i: usize| if i / 2 == 1 { 1e20 } else { 1.0 };
    let panel = packed(k, &one_pair).expect("two exponents");
    let mut column = vec![0.0; k];
    Bf16x12::read_column(&panel, 5, &mut column);
    let expected = |i: usize| bf16::from_f32(one_pair(5, i)).to_f32();
    assert!(column.iter().enumerate().all(|(i, x)| *x == expected(i)));
}

#[test]
fn wild_weights_are_refused_and_lies_stay_within_bounds() {
    let k = 256;
    let wild = |lane: usize, i: usize| f32::from_bits((((i * PANEL + lane) * 7 % 200 + 20) as u32) << 23);
    assert_eq!(packed(k, &wild), Err(PackError::TooManyExponents));
    // Every code an escape: many more than there are.
    let panel = vec![Bf16x12(0xff); Bf16x12::panel_len(k)];
    let plain = packed_plainly(k, &|_, _| 0.0);
    for isa in Isa::available().iter() {
        let mut out = [vec![bf16::ZERO; dequantized_len(k)], vec![bf16::ZERO; dequantized_len(k)]];
        let out = out.each_mut().map(|out| &mut out[..]);
        isa.run(Dequantize { k, panel: &panel, plain: &plain, out });
    }
    Bf16x12::read_column(&panel, 3, &mut vec![0.0; k]);
}

/// Images that were written must stay readable, and the same model must give the same image.
#[test]
fn the_bytes_of_panels_are_those_of_the_first_release() {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for k in [1, 2, 3, 31, 64, 172, 300, 1000] {
        let value = |lane: usize, i: usize| match (i * PANEL + lane) % 701 {
            _ if lane >= 29 => 0.0,
            0 => 1e30,
            1 => -1e-12,
            2..9 => 0.0,
            _ => noise(3, i * PANEL + lane),
        };
        let mut panel = vec![Bf16x12(0xaa); Bf16x12::panel_len(k)];
        let rows = Values { count: 29, inputs: k, value: &value };
        pack_values(WeightFormat::Bf16x12, bytes_mut(&mut panel), &rows).expect("few exponents");
        for byte in panel {
            hash = (hash ^ u64::from(byte.0)).wrapping_mul(0x100_0000_01b3);
        }
    }
    assert_eq!(hash, 0x207e_3ba0_66df_9b17);
}
