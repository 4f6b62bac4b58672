//! The product one element at a time: what the micro-kernels equal bit for bit.
use super::panel::{Linear, PANEL, Panels, int8_column_scale, panel_len};
use crate::dtype::{Int8, WeightFormat, bf16_widen};
use crate::isa::portable::fma;
use half::bf16;

/// `Σ a[k] w[k]` for output `n`, f32 activations; the bias is not added.
pub fn element_f32(act: &[f32], weight: &Linear<'_>, n: usize) -> f32 {
    let Panels::F32(panels) = weight.panels() else { panic!("f32 activations need f32 weights") };
    let panel = &panels[(n / PANEL) * panel_len(WeightFormat::F32, weight.inputs())..];
    let mut acc = 0.0;
    for k in 0..weight.inputs() {
        acc = fma(act[k], panel[k * PANEL + n % PANEL], acc);
    }
    acc
}

/// `Σ a[k] w[k]` for output `n`, bf16 operands; the bias is not added. `act` is padded to an even length.
pub fn element_bf16(act: &[bf16], weight: &Linear<'_>, n: usize) -> f32 {
    let Panels::Bf16(panels) = weight.panels() else { panic!("bf16 activations need bf16 weights") };
    let panel = &panels[(n / PANEL) * panel_len(WeightFormat::Bf16, weight.inputs())..];
    let mut acc = 0.0;
    for pair in 0..weight.inputs().div_ceil(2) {
        let w = &panel[pair * 2 * PANEL + (n % PANEL) * 2..][..2];
        let a = &act[pair * 2..][..2];
        let odd = fma(bf16_widen(a[1]), bf16_widen(w[1]), acc);
        acc = fma(bf16_widen(a[0]), bf16_widen(w[0]), odd);
    }
    acc
}

/// `s_row s_n Σ a[k] w[k]` for output `n`, activations offset by 128; the bias is not added.
pub fn element_int8(act: &[Int8], scale: f32, weight: &Linear<'_>, n: usize) -> f32 {
    let Panels::Int8(panels) = weight.panels() else { panic!("int8 activations need int8 weights") };
    let len = panel_len(WeightFormat::Int8, weight.inputs());
    let panel = &panels[(n / PANEL) * len..][..len];
    let weight_at = |k: usize| i64::from(panel[(k / 4) * 4 * PANEL + (n % PANEL) * 4 + k % 4].0 as i8);
    let sum: i64 = (0..weight.inputs()).map(|k| (i64::from(act[k].0) - 128) * weight_at(k)).sum();
    sum as i32 as f32 * scale * int8_column_scale(panel, n % PANEL)
}
