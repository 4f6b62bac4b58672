//! One task of a product: a range of panels, all rows, and what is done with the sums.
//!
//! The loops: panels outermost, so that a weight is read from memory once, whatever the number of rows; then
//! tiles of rows. A panel (128 KiB at K = 2048 in bf16) stays in L2 while the rows pass by. A panel whose weights take some
//! unpacking is unpacked within the K loop for one tile of rows, and once, into the worker's scratch, for more.
use super::micro::{Element, each_tile, tile};
use super::panel::{INT8_TAIL, Linear, PANEL, Panels, panel_len};
use super::{coded, int4};
use crate::dtype::{Coded, Int4, Int8, OperandFormat, WeightFormat};
use crate::isa::{Isa, LANES, RowTile, Simd, SimdOp};
use crate::kernels::math::silu;
use crate::memory::{AnyBits, cast_mut};
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
    /// For int8 and int4 weights: rows offset by 128, and the scale of each.
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

    fn format(&self) -> OperandFormat {
        match self {
            Self::F32(_) => OperandFormat::F32,
            Self::Bf16(_) => OperandFormat::Bf16,
            Self::Int8(..) => OperandFormat::Int8,
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

/// Bytes of scratch that a task of [`multiply`] needs for such a weight: a multiple of 64.
pub const fn scratch_bytes(format: WeightFormat, inputs: usize, panels_per_output: usize) -> usize {
    match format {
        WeightFormat::F32 | WeightFormat::Bf16 | WeightFormat::Int8 => 0,
        WeightFormat::Int4 => panels_per_output * int4::expanded_len(inputs),
        WeightFormat::Bf16Coded => panels_per_output * coded::expanded_len(inputs) * size_of::<bf16>(),
    }
}

/// Computes the output panels `panels` (each [`PANEL`] columns of the output) of `act · weightᵀ`; rows of the output are
/// `out_stride` elements apart. `scratch` has at least [`scratch_bytes`], from a multiple of 64.
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
    scratch: &mut [u8],
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
    let format = weight.panels().format();
    assert!(act.format() == format.operands(), "the activations are not in the format of the weights");
    let (bias, panel_len) = (weight.bias(), panel_len(format, k));
    match (act, weight.panels()) {
        (Activations::F32(rows), Panels::F32(data)) => {
            let job = Job { rows, scales: &[], k, bias, epilogue, out_stride };
            isa.run(Product { job, data, panel_len, panels, scratch });
        }
        (Activations::Bf16(rows), Panels::Bf16(data)) => {
            let job = Job { rows, scales: &[], k, bias, epilogue, out_stride };
            isa.run(Product { job, data, panel_len, panels, scratch });
        }
        (Activations::Bf16(rows), Panels::Coded(data)) => {
            let job = Job { rows, scales: &[], k, bias, epilogue, out_stride };
            isa.run(Product { job, data, panel_len, panels, scratch });
        }
        (Activations::Int8(rows, scales), Panels::Int8(data)) => {
            assert!(scales.len() >= rows.count());
            let job = Job { rows, scales, k, bias, epilogue, out_stride };
            isa.run(Product { job, data, panel_len, panels, scratch });
        }
        (Activations::Int8(rows, scales), Panels::Int4(data)) => {
            assert!(scales.len() >= rows.count());
            let job = Job { rows, scales, k, bias, epilogue, out_stride };
            isa.run(Product { job, data, panel_len, panels, scratch });
        }
        _ => unreachable!("the formats were compared"),
    }
}

/// What is the same for all panels of a task; `O` is the type of the operands.
struct Job<'a, O> {
    rows: Rows<'a, O>,
    /// Of the rows; empty where they have none.
    scales: &'a [f32],
    k: usize,
    bias: Option<&'a [f32]>,
    epilogue: Epilogue<'a>,
    out_stride: usize,
}

/// The panels `panels` of the output, from panels of `W`.
struct Product<'a, W, O> {
    job: Job<'a, O>,
    data: &'a [W],
    panel_len: usize,
    panels: Range<usize>,
    scratch: &'a mut [u8],
}

macro_rules! plain_product {
    ($element:ty) => {
        impl SimdOp for Product<'_, $element, $element> {
            type Output = ();
            #[inline(always)]
            fn eval<S: Simd>(self, s: S) {
                let Self { job, data, panel_len, panels, scratch: _ } = self;
                let per_output = job.epilogue.panels_per_output();
                let weight = |number: usize| &data[number * panel_len..][..panel_len];
                for panel in panels {
                    let first = panel * per_output;
                    let weights = [weight(first), weight(first + per_output - 1)];
                    each_tile(s, job.rows.count(), &mut PanelTile { job: &job, weights, panel });
                }
            }
        }
    };
}
plain_product!(f32);
plain_product!(bf16);
plain_product!(Int8);

/// A format that is unpacked to panels of another one.
trait Packed<S: Simd>: Weight<S> {
    /// Elements that a panel is unpacked to.
    fn expanded_len(k: usize) -> usize;
    /// Unpacks a panel.
    fn expand(s: S, k: usize, panel: &[Self], out: &mut [Self::Operand]);
}

impl<S: Simd> Packed<S> for Int4 {
    #[inline(always)]
    fn expanded_len(k: usize) -> usize {
        int4::expanded_len(k)
    }
    #[inline(always)]
    fn expand(s: S, k: usize, panel: &[Int4], out: &mut [Int8]) {
        int4::expand(s, k, panel, out);
    }
}

impl<S: Simd> Packed<S> for Coded {
    #[inline(always)]
    fn expanded_len(k: usize) -> usize {
        coded::expanded_len(k)
    }
    #[inline(always)]
    fn expand(s: S, k: usize, panel: &[Coded], out: &mut [bf16]) {
        coded::expand(s, k, panel, out);
    }
}

macro_rules! packed_product {
    ($packed:ty => $element:ty) => {
        impl SimdOp for Product<'_, $packed, $element> {
            type Output = ();
            #[inline(always)]
            fn eval<S: Simd>(self, s: S) {
                let Self { job, data, panel_len, panels, scratch } = self;
                let per_output = job.epilogue.panels_per_output();
                let weight = |number: usize| &data[number * panel_len..][..panel_len];
                if job.rows.count() <= S::TILE_ROWS {
                    for panel in panels {
                        let first = panel * per_output;
                        let weights = [weight(first), weight(first + per_output - 1)];
                        each_tile(s, job.rows.count(), &mut PanelTile { job: &job, weights, panel });
                    }
                    return;
                }
                let len = <$packed as Packed<S>>::expanded_len(job.k);
                let expanded = cast_mut::<$element>(scratch).expect("the scratch is aligned");
                for panel in panels {
                    for i in 0..per_output {
                        let out = &mut expanded[i * len..][..len];
                        <$packed as Packed<S>>::expand(s, job.k, weight(panel * per_output + i), out);
                    }
                    let last = (per_output - 1) * len;
                    let weights = [&expanded[..len], &expanded[last..last + len]];
                    each_tile(s, job.rows.count(), &mut PanelTile { job: &job, weights, panel });
                }
            }
        }
    };
}
packed_product!(Int4 => Int8);
packed_product!(Coded => bf16);

/// What a format of weights does for a tile of rows: from where its sums start to numbers.
trait Weight<S: Simd>: Copy {
    /// What the rows are made of.
    type Operand: Element<S> + AnyBits;
    /// Where the sums of a panel's 32 columns start.
    fn begin(s: S, panel: &[Self]) -> [Sums<S, Self>; 2];
    /// Adds the products with MR rows, `k` of each.
    ///
    /// # Safety
    /// Each row, `a + r * a_stride` for `r < MR`, is readable for `k` elements rounded up to [`Weight::read_len`].
    unsafe fn accumulate<const MR: usize>(
        s: S,
        k: usize,
        a: *const Self::Operand,
        a_stride: usize,
        panel: &[Self],
        sums: &mut [[Sums<S, Self>; 2]; MR],
    );
    /// Elements of a row that [`Weight::accumulate`] reads.
    fn read_len(k: usize) -> usize;
    /// The sums as numbers, for a row with that scale.
    fn finish(s: S, sums: [Sums<S, Self>; 2], panel: &[Self], row_scale: f32) -> [S::F; 2];
}

type Sums<S, W> = <<W as Weight<S>>::Operand as Element<S>>::Sums;

macro_rules! unscaled {
    () => {
        #[inline(always)]
        fn begin(s: S, _panel: &[Self]) -> [S::F; 2] {
            [s.splat(0.0); 2]
        }
        #[inline(always)]
        fn finish(_s: S, sums: [S::F; 2], _panel: &[Self], _row_scale: f32) -> [S::F; 2] {
            sums
        }
    };
}

macro_rules! scaled {
    () => {
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
    };
}

macro_rules! plain {
    ($element:ty) => {
        type Operand = $element;
        #[inline(always)]
        fn read_len(k: usize) -> usize {
            k.next_multiple_of(<$element as Element<S>>::STEP)
        }
        #[inline(always)]
        unsafe fn accumulate<const MR: usize>(
            s: S,
            k: usize,
            a: *const $element,
            a_stride: usize,
            panel: &[$element],
            sums: &mut [[Sums<S, Self>; 2]; MR],
        ) {
            let step = <$element as Element<S>>::STEP;
            let (steps, width) = (k.div_ceil(step), LANES * step);
            assert!(panel.len() >= steps * 2 * width);
            let b = panel.as_ptr();
            // SAFETY: the caller vouches for the rows; the panel has `steps` steps of two vectors of 16 columns.
            unsafe {
                tile::<S, $element, MR, 2>(s, steps, a, a_stride, [b, b.add(width)], 2 * width, sums);
            }
        }
    };
}

impl<S: Simd> Weight<S> for f32 {
    unscaled!();
    plain!(f32);
}

impl<S: Simd> Weight<S> for bf16 {
    unscaled!();
    plain!(bf16);
}

impl<S: Simd> Weight<S> for Int8 {
    scaled!();
    plain!(Int8);
}

impl<S: Simd> Weight<S> for Int4 {
    scaled!();
    type Operand = Int8;
    #[inline(always)]
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(int4::GROUP)
    }
    #[inline(always)]
    unsafe fn accumulate<const MR: usize>(
        s: S,
        k: usize,
        a: *const Int8,
        a_stride: usize,
        panel: &[Int4],
        sums: &mut [[S::Ints; 2]; MR],
    ) {
        assert!(panel.len() >= k.div_ceil(int4::BLOCK) * int4::BLOCK_BYTES);
        // SAFETY: the caller vouches for the rows; the panel has that many blocks.
        unsafe { int4::tile(s, k.div_ceil(int4::GROUP), a, a_stride, panel.as_ptr(), sums) };
    }
}

impl<S: Simd> Weight<S> for Coded {
    unscaled!();
    type Operand = bf16;
    #[inline(always)]
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(4)
    }
    #[inline(always)]
    unsafe fn accumulate<const MR: usize>(
        s: S,
        k: usize,
        a: *const bf16,
        a_stride: usize,
        panel: &[Coded],
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller vouches for the rows.
        unsafe { coded::tile(s, k, a, a_stride, panel, sums) };
    }
}

/// One panel of the output for all rows; two panels of the weight where gate and up meet, else one twice.
struct PanelTile<'p, 'a, W, O> {
    job: &'p Job<'a, O>,
    weights: [&'p [W]; 2],
    panel: usize,
}

impl<S: Simd, W: Weight<S>> RowTile<S> for PanelTile<'_, '_, W, W::Operand> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        panel_tile::<S, W, MR>(s, self, row);
    }
}

/// The sums of MR rows and one panel of the weight, with its bias.
#[inline(always)]
fn panel_sums<S: Simd, W: Weight<S>, const MR: usize>(
    s: S,
    job: &Job<'_, W::Operand>,
    (weight, number): (&[W], usize),
    row: usize,
) -> [[S::F; 2]; MR] {
    let stride = job.rows.stride();
    let a = job.rows.data()[row * stride..][..(MR - 1) * stride + W::read_len(job.k)].as_ptr();
    let mut sums = [W::begin(s, weight); MR];
    // SAFETY: `a` was just sliced to MR rows of what is read.
    unsafe { W::accumulate(s, job.k, a, stride, weight, &mut sums) };
    let mut acc = [[s.splat(0.0); 2]; MR];
    for r in 0..MR {
        let row_scale = if job.scales.is_empty() { 1.0 } else { job.scales[row + r] };
        acc[r] = W::finish(s, sums[r], weight, row_scale);
    }
    if let Some(bias) = job.bias {
        let bias = &bias[number * PANEL..][..PANEL];
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
fn panel_tile<S: Simd, W: Weight<S>, const MR: usize>(
    s: S,
    tile: &PanelTile<'_, '_, W, W::Operand>,
    row: usize,
) {
    let PanelTile { job, weights, panel } = tile;
    let per_output = job.epilogue.panels_per_output();
    // One call in a loop, not one for each epilogue: each is a loop over K of its own when compiled.
    let mut sums = [[[s.splat(0.0); 2]; MR]; 2];
    for (i, sums) in sums.iter_mut().enumerate().take(per_output) {
        *sums = panel_sums::<S, W, MR>(s, job, (weights[i], panel * per_output + i), row);
    }
    let [sums, ups] = sums;
    for r in 0..MR {
        for v in 0..2 {
            let at = (row + r) * job.out_stride + panel * PANEL + v * LANES;
            // SAFETY: no other task has this panel of the output (`multiply`'s condition), and within this one each
            // part is taken once; it is 16 elements, half a panel.
            unsafe {
                match job.epilogue {
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
