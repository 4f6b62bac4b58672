//! One task of a product: a range of panels, all rows, and what is done with the sums.
//!
//! The loops: panels outermost, so that a weight is read from memory once, whatever the number of rows; then
//! tiles of rows. A panel (128 KiB at K = 2048 in bf16) stays in L2 while the rows pass by.
use super::micro::{Element, each_tile, tile};
use super::panel::{INT8_TAIL, Linear, PANEL, Panels, panel_len};
use crate::dtype::{Int8, WeightFormat};
use crate::isa::{Isa, LANES, RowTile, Simd, SimdOp};
use crate::kernels::math::silu;
use crate::tensor::{Rows, Shared};
use core::ops::Range;
use half::bf16;

/// The rows that are multiplied: `[R, K]`, in the format that the weights ask for.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// For f32 weights.
    F32(Rows<'a, f32>),
    /// For bf16 weights: operands, zero beyond K.
    Bf16(Rows<'a, bf16>),
    /// For int8 weights: rows offset by 128, and the scale of each.
    Int8(Rows<'a, Int8>, &'a [f32]),
}

impl Activations<'_> {
    /// R.
    pub fn count(&self) -> usize {
        match self {
            Self::F32(rows) => rows.count(),
            Self::Bf16(rows) => rows.count(),
            Self::Int8(rows, _) => rows.count(),
        }
    }
}

/// Where the sums go: rows of whole panels.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `out = sum (+ bias)`
    Store(Shared<'a, f32>),
    /// `out = out + (sum (+ bias))`: the residual.
    Add(Shared<'a, f32>),
    /// Panels come in pairs (gate, up): `out = silu(gate) · up`, f32.
    SwigluF32(Shared<'a, f32>),
    /// The same, as bf16 operands for the next product.
    SwigluBf16(Shared<'a, bf16>),
}

impl Epilogue<'_> {
    /// Panels of the weight that make one panel of the output.
    pub fn panels_per_output(&self) -> usize {
        match self {
            Self::Store(_) | Self::Add(_) => 1,
            Self::SwigluF32(_) | Self::SwigluBf16(_) => 2,
        }
    }
}

/// Computes the output panels `panels` (each [`PANEL`] columns of the output) of `act · weightᵀ`; rows of the output are
/// `out_stride` elements apart.
///
/// # Safety
/// No other task works on the same output panels of the same output at the same time.
///
/// # Panics
/// If formats or shapes do not fit each other.
pub unsafe fn multiply(
    isa: Isa,
    act: Activations<'_>,
    weight: &Linear<'_>,
    panels: Range<usize>,
    (epilogue, out_stride): (Epilogue<'_>, usize),
) {
    let per_output = epilogue.panels_per_output();
    assert!(panels.start <= panels.end && panels.end * per_output <= weight.panel_count());
    let k = weight.inputs();
    assert!(panels.end * PANEL <= out_stride);
    let out_len = match epilogue {
        Epilogue::Store(out) | Epilogue::Add(out) | Epilogue::SwigluF32(out) => out.len(),
        Epilogue::SwigluBf16(out) => out.len(),
    };
    assert!(out_len >= act.count() * out_stride, "the output is shorter than the product");
    let bias = weight.bias();
    match (act, weight.panels()) {
        (Activations::F32(rows), Panels::F32(data)) => {
            assert!(rows.width() == k);
            let panel_len = panel_len(WeightFormat::F32, k);
            let scales = &[];
            isa.run(Product { rows, scales, data, panel_len, steps: k, bias, panels, epilogue, out_stride });
        }
        (Activations::Bf16(rows), Panels::Bf16(data)) => {
            assert!(rows.width() == k && rows.stride() >= k.next_multiple_of(2));
            let panel_len = panel_len(WeightFormat::Bf16, k);
            let steps = k.div_ceil(2);
            let scales = &[];
            isa.run(Product { rows, scales, data, panel_len, steps, bias, panels, epilogue, out_stride });
        }
        (Activations::Int8(rows, scales), Panels::Int8(data)) => {
            assert!(
                rows.width() == k && rows.stride() >= k.next_multiple_of(4) && scales.len() >= rows.count()
            );
            let panel_len = panel_len(WeightFormat::Int8, k);
            let steps = k.div_ceil(4);
            isa.run(Product { rows, scales, data, panel_len, steps, bias, panels, epilogue, out_stride });
        }
        _ => panic!("the activations are not in the format of the weights"),
    }
}

struct Product<'a, E> {
    rows: Rows<'a, E>,
    /// Of the rows; empty where they have none.
    scales: &'a [f32],
    data: &'a [E],
    panel_len: usize,
    steps: usize,
    bias: Option<&'a [f32]>,
    panels: Range<usize>,
    epilogue: Epilogue<'a>,
    out_stride: usize,
}

macro_rules! op_for {
    ($element:ty) => {
        impl SimdOp for Product<'_, $element> {
            type Output = ();
            #[inline(always)]
            fn eval<S: Simd>(self, s: S) {
                for panel in self.panels.clone() {
                    each_tile(s, self.rows.count(), &mut PanelTile { product: &self, panel });
                }
            }
        }
    };
}
op_for!(f32);
op_for!(bf16);
op_for!(Int8);

/// From sums to numbers: what a format does around the K loop.
trait Weight<S: Simd>: Element<S> {
    /// Where the sums of a panel's 32 columns start.
    fn begin(s: S, panel: &[Self]) -> [Self::Sums; 2];
    /// The sums as numbers, for a row with that scale.
    fn finish(s: S, sums: [Self::Sums; 2], panel: &[Self], row_scale: f32) -> [S::F; 2];
}

macro_rules! plain_weight {
    ($element:ty) => {
        impl<S: Simd> Weight<S> for $element {
            #[inline(always)]
            fn begin(s: S, _panel: &[Self]) -> [S::F; 2] {
                [s.splat(0.0); 2]
            }
            #[inline(always)]
            fn finish(_s: S, sums: [S::F; 2], _panel: &[Self], _row_scale: f32) -> [S::F; 2] {
                sums
            }
        }
    };
}
plain_weight!(f32);
plain_weight!(bf16);

impl<S: Simd> Weight<S> for Int8 {
    #[inline(always)]
    fn begin(s: S, panel: &[Self]) -> [S::Ints; 2] {
        let starts = panel[panel.len() - INT8_TAIL..].as_ptr().cast::<i32>();
        // SAFETY: the tail begins with 32 integers.
        unsafe { [s.load_ints(starts), s.load_ints(starts.add(LANES))] }
    }
    #[inline(always)]
    fn finish(s: S, sums: [S::Ints; 2], panel: &[Self], row_scale: f32) -> [S::F; 2] {
        let scales = panel[panel.len() - PANEL * size_of::<f32>()..].as_ptr().cast::<f32>();
        // SAFETY: the tail ends with 32 floats.
        let scales = unsafe { [s.load(scales), s.load(scales.add(LANES))] };
        let row_scale = s.splat(row_scale);
        let [first, second] = [s.ints_to_floats(sums[0]), s.ints_to_floats(sums[1])];
        [s.mul(s.mul(first, row_scale), scales[0]), s.mul(s.mul(second, row_scale), scales[1])]
    }
}

struct PanelTile<'p, 'a, E> {
    product: &'p Product<'a, E>,
    panel: usize,
}

impl<S: Simd, E: Weight<S>> RowTile<S> for PanelTile<'_, '_, E> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        panel_tile::<S, E, MR>(s, self.product, self.panel, row);
    }
}

/// The sums of MR rows and one panel of the weight, with its bias.
#[inline(always)]
fn panel_sums<S: Simd, E: Weight<S>, const MR: usize>(
    s: S,
    p: &Product<'_, E>,
    weight_panel: usize,
    row: usize,
) -> [[S::F; 2]; MR] {
    let a = p.rows.data()[row * p.rows.stride()..][..(MR - 1) * p.rows.stride() + p.steps * E::STEP].as_ptr();
    let data = &p.data[weight_panel * p.panel_len..][..p.panel_len];
    let b = data.as_ptr();
    let mut sums = [E::begin(s, data); MR];
    let width = LANES * E::STEP;
    // SAFETY: `a` was just sliced to MR rows of `steps` steps, `b` to a whole panel, which is `steps`
    // steps of two vectors of 16 columns.
    unsafe {
        tile::<S, E, MR, 2>(s, p.steps, a, p.rows.stride(), [b, b.add(width)], 2 * width, &mut sums);
    }
    let mut acc = [[s.splat(0.0); 2]; MR];
    for r in 0..MR {
        let row_scale = if p.scales.is_empty() { 1.0 } else { p.scales[row + r] };
        acc[r] = E::finish(s, sums[r], data, row_scale);
    }
    if let Some(bias) = p.bias {
        let bias = &bias[weight_panel * PANEL..][..PANEL];
        // SAFETY: the slice is 32 floats.
        let columns = unsafe { [s.load(bias.as_ptr()), s.load(bias.as_ptr().add(LANES))] };
        for sums in &mut acc {
            sums[0] = s.add(sums[0], columns[0]);
            sums[1] = s.add(sums[1], columns[1]);
        }
    }
    acc
}

#[inline(always)]
fn panel_tile<S: Simd, E: Weight<S>, const MR: usize>(s: S, p: &Product<'_, E>, panel: usize, row: usize) {
    let per_output = p.epilogue.panels_per_output();
    // One call in a loop, not one for each epilogue: each is a loop over K of its own when compiled.
    let mut sums = [[[s.splat(0.0); 2]; MR]; 2];
    for (i, sums) in sums.iter_mut().enumerate().take(per_output) {
        *sums = panel_sums::<S, E, MR>(s, p, panel * per_output + i, row);
    }
    let [sums, ups] = sums;
    for r in 0..MR {
        for v in 0..2 {
            let at = (row + r) * p.out_stride + panel * PANEL + v * LANES;
            // SAFETY: no other task has this panel of the output (`multiply`'s condition), and within this one each
            // part is taken once; it is 16 elements, half a panel.
            unsafe {
                match p.epilogue {
                    Epilogue::Store(out) => s.store(out.part(at, LANES).as_mut_ptr(), sums[r][v]),
                    Epilogue::Add(out) => {
                        let part = out.part(at, LANES).as_mut_ptr();
                        s.store(part, s.add(s.load(part), sums[r][v]));
                    }
                    Epilogue::SwigluF32(out) => {
                        let y = s.mul(silu(s, sums[r][v]), ups[r][v]);
                        s.store(out.part(at, LANES).as_mut_ptr(), y);
                    }
                    Epilogue::SwigluBf16(out) => {
                        let y = s.mul(silu(s, sums[r][v]), ups[r][v]);
                        s.store_bf16(out.part(at, LANES).as_mut_ptr(), y);
                    }
                }
            }
        }
    }
}
