//! The product one element at a time: what the micro-kernels equal bit for bit.
use super::int4::weight_at;
use super::panel::{Linear, PANEL, Panels, column_scale, panel_len};
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

/// `Σ a[k] w[k]` for output `n`, bf16 operands; the bias is not added. `act` is padded to an even
/// length.
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

/// `s_row s_n Σ a[k] w[k]` for output `n`, activations offset by 128, int8 or int4 weights; the
/// bias is not added.
pub fn element_int8(act: &[Int8], scale: f32, weight: &Linear<'_>, n: usize) -> f32 {
    let len = panel_len(weight.panels().format(), weight.inputs());
    let (panel, lane) = (n / PANEL * len, n % PANEL);
    let sum = |weight_at: &dyn Fn(usize) -> i8| -> i64 {
        (0..weight.inputs()).map(|k| (i64::from(act[k].0) - 128) * i64::from(weight_at(k))).sum()
    };
    let (sum, column_scale) = match weight.panels() {
        Panels::Int8(panels) => {
            let panel = &panels[panel..][..len];
            (sum(&|k| panel[(k / 4) * 4 * PANEL + lane * 4 + k % 4].0 as i8), column_scale(panel, lane))
        }
        Panels::Int4(panels) => {
            let panel = &panels[panel..][..len];
            (sum(&|k| weight_at(panel, lane, k)), column_scale(panel, lane))
        }
        Panels::F32(_) | Panels::Bf16(_) | Panels::Coded(_) => {
            panic!("8-bit activations need int8 or int4 weights")
        }
    };
    sum as i32 as f32 * scale * column_scale
}
