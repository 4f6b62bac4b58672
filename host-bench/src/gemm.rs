//! Matrix products at the shapes of language models: packed formats beside each other, the
//! machine's limits, and plain implementations.
//!
//! Weights are as many copies of a matrix as exceed the last-level cache, used in turn, so that
//! every product reads memory as a model does. A row of the table is one product of `M` rows; its
//! limit is the smaller of what the peak and the bandwidth allow.
use super::limits::{Limits, measure};
use super::report::{Line, Report};
use std::marker::PhantomData;
use std::time::Instant;
use verbatim::sys::cpu::worker_count;
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim::sys::rates::read::beyond_caches;
use verbatim_core::dtype::{Int8, OperandFormat, WeightFormat, bf16, bf16_operand};
use verbatim_core::isa::{Isa, LANES, Simd, SimdOp};
use verbatim_core::kernels::matmul::cut::Cut;
use verbatim_core::kernels::matmul::pack::pack_panel;
use verbatim_core::kernels::matmul::panel::PANEL;
use verbatim_core::kernels::matmul::product::{multiply, scratch_bytes};
use verbatim_core::kernels::matmul::source::SourceType;
use verbatim_core::kernels::matmul::{Activations, Epilogue, Linear, Panels, panel_len};
use verbatim_core::kernels::quantize::quantize;
use verbatim_core::memory::{AnyBits, cast, cast_mut};
use verbatim_core::pool::{Phase, Pool};
use verbatim_core::tensor::{Rows, Shared, operand_stride, padded};

/// Names, K and N of TinyLlama's products.
pub(crate) const SHAPES: [(&str, usize, usize); 5] = [
    ("q", 2048, 2048),
    ("kv", 2048, 256),
    ("gate, up", 2048, 5632),
    ("down", 5632, 2048),
    ("lm_head", 2048, 32000),
];
const ROWS: [usize; 9] = [1, 2, 4, 8, 12, 16, 32, 128, 512];
/// The least bytes of weights that are used in turn.
const ROTATE_BYTES: usize = 320 << 20;
/// About how many seconds a measurement takes.
const TIME: f64 = 0.1;

/// How a product is cut for the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Split {
    /// Each worker has all columns for some rows.
    Rows,
    /// Each worker has some columns for all rows.
    Columns,
    /// As the engine cuts it: by columns, and by rows too where columns are too few for all
    /// workers.
    Auto,
}

/// The command line of `verbatim-bench gemm`.
#[derive(Debug, clap::Args)]
pub(crate) struct GemmArgs {
    /// Weight formats [default: all].
    #[arg(long, value_delimiter = ',')]
    formats: Vec<String>,
    /// Instruction set: auto, avx512, avx512-amx, avx512-bf16, avx512-fma, avx2, neon or portable.
    #[arg(long, default_value = "auto")]
    isa: String,
    /// The numbers of rows to measure.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<usize>,
    /// How the product is cut for the workers.
    #[arg(long, value_enum, default_value = "auto")]
    split: Split,
    /// Workers [default: as for serving].
    #[arg(long)]
    threads: Option<usize>,
    /// Also measures scalar code, plain SIMD over unpacked rows, tiles over unpacked rows, and
    /// OpenBLAS if it was built in (f32).
    #[arg(long)]
    baselines: bool,
}

fn noise(i: usize) -> f32 {
    let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 27;
    let quarter = |shift: u32| f32::from((z >> shift) as u16) / 65536.0 - 0.5;
    (quarter(0) + quarter(16) + quarter(32) + quarter(48)) * 0.04
}

/// A packed weight, copied until no cache holds all copies.
pub(crate) struct Weights {
    format: WeightFormat,
    memory: AlignedMemory,
    /// Bytes of one copy.
    pub(crate) bytes: usize,
    copies: usize,
    k: usize,
    n: usize,
}

impl Weights {
    /// Packs one panel of noise and repeats it: its values do not change the speed, its place does.
    pub(crate) fn new(format: WeightFormat, k: usize, n: usize) -> Result<Self, String> {
        let rows: Vec<u8> = (0..PANEL * k).flat_map(|i| noise(i).to_le_bytes()).collect();
        let panel_bytes = panel_len(format, k) * format.element_bytes();
        let mut panel = vec![0_u8; panel_bytes];
        pack_panel(Isa::detect(), format, &mut panel, k, SourceType::F32, &rows)
            .map_err(|error| format!("noise is packed: {error:?}"))?;
        let bytes = panel_bytes * n.div_ceil(PANEL);
        let copies = beyond_caches(ROTATE_BYTES).div_ceil(bytes);
        let mut memory = AlignedMemory::new(bytes * copies).map_err(|error| error.to_string())?;
        memory.as_mut_slice().chunks_exact_mut(panel_bytes).for_each(|out| out.copy_from_slice(&panel));
        Ok(Self { format, memory, bytes, copies, k, n })
    }

    /// The copy to use in turn `i`.
    pub(crate) fn linear(&self, copy: usize) -> Linear<'_> {
        let bytes = &self.memory.as_slice()[copy % self.copies * self.bytes..][..self.bytes];
        let panels = Panels::from_bytes(self.format, bytes).expect("panels are multiples of 64 bytes");
        Linear::new(self.n, self.k, panels, None).expect("the lengths are those of the shape")
    }
}

/// Memory as the engine has it: aligned to cache lines, in huge pages if there are some.
struct Aligned<T>(AlignedMemory, PhantomData<T>);

impl<T: AnyBits> Aligned<T> {
    fn new(len: usize) -> Self {
        Self(AlignedMemory::new(len * size_of::<T>()).expect("memory"), PhantomData)
    }

    fn of(values: impl ExactSizeIterator<Item = T>) -> Self {
        let mut memory = Self::new(values.len());
        memory.as_mut_slice().iter_mut().zip(values).for_each(|(out, value)| *out = value);
        memory
    }

    fn as_slice(&self) -> &[T] {
        cast(self.0.as_slice()).expect("whole and aligned")
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        cast_mut(self.0.as_mut_slice()).expect("whole and aligned")
    }
}

/// Rows of activations in every format.
struct Operands {
    floats: Aligned<f32>,
    halves: Aligned<bf16>,
    whole: Aligned<Int8>,
    scales: Vec<f32>,
    k: usize,
}

impl Operands {
    fn new(rows: usize, k: usize) -> Self {
        let (isa, stride) = (Isa::detect(), operand_stride(k));
        let floats: Vec<f32> =
            (0..rows * stride).map(|i| if i % stride < k { noise(i) * 30.0 } else { 0.0 }).collect();
        let halves = Aligned::of(floats.iter().map(|x| bf16_operand(*x)));
        let mut whole = Aligned::of(floats.iter().map(|_| Int8(128)));
        let mut rotated = floats.clone();
        let scales = rotated
            .chunks_mut(stride)
            .zip(whole.as_mut_slice().chunks_mut(stride))
            .map(|(x, out)| quantize(isa, k, &mut x[..padded(k)], &mut out[..padded(k)]))
            .collect();
        Self { floats: Aligned::of(floats.into_iter()), halves, whole, scales, k }
    }

    fn rows(&self, format: WeightFormat, rows: std::ops::Range<usize>) -> Activations<'_> {
        let stride = operand_stride(self.k);
        let at = rows.start * stride..rows.end * stride;
        match format.operands() {
            OperandFormat::F32 => Activations::F32(Rows::operands(&self.floats.as_slice()[at], self.k)),
            OperandFormat::Bf16 => Activations::Bf16(Rows::operands(&self.halves.as_slice()[at], self.k)),
            OperandFormat::Int8 => {
                Activations::Int8(Rows::operands(&self.whole.as_slice()[at], self.k), &self.scales[rows])
            }
        }
    }
}

/// The best time of a product in seconds.
pub(crate) fn best(mut product: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    let begin = Instant::now();
    let mut copy = 0;
    while copy < 3 || begin.elapsed().as_secs_f64() < TIME {
        let start = Instant::now();
        product(copy);
        best = best.min(start.elapsed().as_secs_f64());
        copy += 1;
    }
    best
}

/// The best of a product of packed weights. Products of microseconds are timed many at a time, by
/// whole rotations' parts.
pub(crate) fn packed(pool: &dyn Pool, isa: Isa, weights: &Weights, rows: usize, split: Split) -> f64 {
    let act = Operands::new(rows, weights.k);
    let stride = padded(weights.n);
    let mut out = Aligned::<f32>::new(rows * stride);
    let len = scratch_bytes(rows, 1);
    let mut scratch = AlignedMemory::new(len * pool.workers()).expect("memory");
    let scratch = Shared::new(scratch.as_mut_slice());
    let panels = weights.n.div_ceil(PANEL);
    let cut = match split {
        Split::Rows => Cut::by_rows,
        Split::Columns => Cut::by_columns,
        Split::Auto => Cut::new,
    };
    let cut = cut(panels, rows, pool.workers());
    // A few products a measurement where one would be too short for the clock and for the pool's
    // start.
    let times = ((2 << 20) / weights.bytes).max(1);
    best(|round| {
        for i in 0..times {
            let weight = weights.linear(round * times + i);
            let shared = Shared::new(out.as_mut_slice());
            pool.run(Phase::Qkv, cut.tasks(), &|task, worker| {
                let (panels, rows) = cut.of(task);
                let epilogue = (Epilogue::Store(shared.after(rows.start * stride)), stride);
                // SAFETY: no two tasks have the same panels of the same rows; a worker has its
                // scratch.
                unsafe {
                    let scratch = scratch.part(worker * len, len);
                    multiply(isa, act.rows(weights.format, rows), &weight, panels, epilogue, scratch);
                }
            });
        }
    }) / times as f64
}

/// Seconds that the machine needs at least.
fn bound(limits: &Limits, weights: &Weights, rows: usize) -> f64 {
    multiplied_at(limits, weights, rows).max(weights.bytes as f64 / limits.read)
}

/// Seconds that the arithmetic alone needs at least.
pub(crate) fn multiplied_at(limits: &Limits, weights: &Weights, rows: usize) -> f64 {
    let peak = limits.peaks.for_operands(weights.format.operands());
    let operations = 2.0 * (rows * weights.k * weights.n) as f64;
    operations / peak
}

/// Prints the table of all shapes, formats and row counts.
pub(crate) fn report(args: &GemmArgs, json: bool) -> Result<(), String> {
    let isa = Isa::from_name(&args.isa).ok_or_else(|| format!("--isa {}: this CPU has it not", args.isa))?;
    let workers = worker_count(args.threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("gemm", json, workers);
    let limits = measure(&pool, &mut |_, _| {})?;
    let formats: Vec<WeightFormat> = if args.formats.is_empty() {
        WeightFormat::STORED.to_vec()
    } else {
        let parse = |name: &String| {
            WeightFormat::from_name(name).ok_or_else(|| format!("--formats {name}: no such format"))
        };
        args.formats.iter().map(parse).collect::<Result<_, _>>()?
    };
    let rows = if args.rows.is_empty() { ROWS.to_vec() } else { args.rows.clone() };
    for (name, k, n) in SHAPES {
        report.section(&format!("{name}: K {k}, N {n}, path {}", isa.name()));
        for format in &formats {
            let weights = Weights::new(*format, k, n)?;
            for m in &rows {
                let seconds = packed(&pool, isa, &weights, *m, args.split);
                let scale = 2.0 * (m * k * n) as f64 / 1e9;
                let rate = scale / seconds;
                let line = Line::new(format!("{name} {} M={m}", format.name()), rate, "GFLOP/s");
                let note = format!("{:.1} GB/s", weights.bytes as f64 / seconds / 1e9);
                report.line(&line.limit(scale / bound(&limits, &weights, *m)).note(note));
            }
        }
        if args.baselines {
            baselines(&report, &pool, isa, (name, k, n))?;
        }
    }
    Ok(())
}

/// `out[r, n] = act[r] · weight[n]` over rows as a checkpoint has them, by plain implementations.
enum Plain {
    Scalar,
    Simd,
    Tiled,
}

struct PlainOp<'a> {
    way: &'a Plain,
    act: &'a [f32],
    weight: &'a [f32],
    k: usize,
    out: &'a mut [f32],
    /// Elements from a row of the output to the next.
    rows: usize,
}

impl SimdOp for PlainOp<'_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { way, act, weight, k, out, rows } = self;
        match way {
            Plain::Scalar => {
                for (n, w) in weight.chunks_exact(k).enumerate() {
                    for (r, a) in act.chunks_exact(k).enumerate() {
                        out[n * rows + r] = a.iter().zip(w).fold(0.0, |sum, (a, w)| sum + a * w);
                    }
                }
            }
            Plain::Simd => {
                for (n, w) in weight.chunks_exact(k).enumerate() {
                    for (r, a) in act.chunks_exact(k).enumerate() {
                        let mut sums = [s.splat(0.0); 4];
                        for i in (0..k).step_by(4 * LANES) {
                            for (j, sum) in sums.iter_mut().enumerate() {
                                let at = i + j * LANES;
                                // SAFETY: K is a multiple of 64 here.
                                *sum = unsafe {
                                    s.fma(s.load(a[at..].as_ptr()), s.load(w[at..].as_ptr()), *sum)
                                };
                            }
                        }
                        let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
                        out[n * rows + r] = s.sum_lanes(sum);
                    }
                }
            }
            Plain::Tiled => {
                // Four weights at a time against four rows: sixteen sums for eight loads.
                for (n, w) in weight.chunks_exact(4 * k).enumerate() {
                    for r in (0..rows).step_by(4) {
                        let count = (rows - r).min(4);
                        let mut sums = [[s.splat(0.0); 4]; 4];
                        for i in (0..k).step_by(LANES) {
                            for (j, sums) in sums.iter_mut().enumerate().take(count) {
                                for (l, sum) in sums.iter_mut().enumerate() {
                                    // SAFETY: K is a multiple of 16 here; the slices hold the rows.
                                    *sum = unsafe {
                                        let a = s.load(act[(r + j) * k + i..].as_ptr());
                                        s.fma(a, s.load(w[l * k + i..].as_ptr()), *sum)
                                    };
                                }
                            }
                        }
                        for (j, sums) in sums.iter().enumerate().take(count) {
                            for (l, sum) in sums.iter().enumerate() {
                                out[(4 * n + l) * rows + r + j] = s.sum_lanes(*sum);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn baselines(
    report: &Report,
    pool: &dyn Pool,
    isa: Isa,
    (name, k, n): (&str, usize, usize),
) -> Result<(), String> {
    let copies = beyond_caches(ROTATE_BYTES).div_ceil(n * k * 4);
    let mut memory = AlignedMemory::new(copies * n * k * 4).map_err(|error| error.to_string())?;
    let weights = cast_mut::<f32>(memory.as_mut_slice()).ok_or("aligned")?;
    weights.iter_mut().enumerate().for_each(|(i, w)| *w = (i % 251) as f32 * 1e-3 - 0.12);
    let weights = &*weights;
    let ours = Weights::new(WeightFormat::F32, k, n)?;
    for m in [1, 16, 128] {
        let scale = 2.0 * (m * k * n) as f64 / 1e9;
        let packed = scale / packed(pool, isa, &ours, m, Split::Auto);
        let act: Vec<f32> = (0..m * k).map(noise).collect();
        let mut out = vec![0.0_f32; m * n];
        for (who, way) in
            [("scalar", Plain::Scalar), ("plain SIMD", Plain::Simd), ("tiled, unpacked", Plain::Tiled)]
        {
            let seconds = best(|copy| {
                let weight = &weights[copy % copies * n * k..][..n * k];
                let shared = Shared::new(&mut out);
                let tasks = pool.workers() * 4;
                pool.run(Phase::Qkv, tasks, &|task, _| {
                    let range = n / 4 * task / tasks * 4..n / 4 * (task + 1) / tasks * 4;
                    // SAFETY: a task has its columns for itself.
                    let out = unsafe { shared.part(range.start * m, range.len() * m) };
                    let weight = &weight[range.start * k..range.end * k];
                    isa.run(PlainOp { way: &way, act: &act, weight, k, out, rows: m });
                });
            });
            let line = Line::new(format!("{name} f32 M={m}: packed"), packed, "GFLOP/s");
            report.line(&line.peer(who, scale / seconds));
        }
        #[cfg(feature = "openblas")]
        {
            let seconds = best(|copy| {
                let weight = &weights[copy % copies * n * k..][..n * k];
                super::openblas::multiply(&act, weight, &mut out, (m, k, n));
            });
            let line = Line::new(format!("{name} f32 M={m}: packed"), packed, "GFLOP/s");
            report.line(&line.peer("OpenBLAS", scale / seconds));
        }
    }
    Ok(())
}
