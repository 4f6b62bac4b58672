//! OpenBLAS from the system, behind the feature `openblas`: the yardstick of f32 products.
use std::ffi::{c_float, c_int};

#[link(name = "openblas")]
unsafe extern "C" {
    fn cblas_sgemm(
        order: c_int,
        transpose_a: c_int,
        transpose_b: c_int,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: c_float,
        a: *const c_float,
        lda: c_int,
        b: *const c_float,
        ldb: c_int,
        beta: c_float,
        c: *mut c_float,
        ldc: c_int,
    );
}

const ROW_MAJOR: c_int = 101;
const NO_TRANSPOSE: c_int = 111;
const TRANSPOSE: c_int = 112;

/// `out[m, n] = act[m, k] · weight[n, k]ᵀ`
///
/// # Panics
/// If a slice is shorter than the shape says.
pub(crate) fn multiply(act: &[f32], weight: &[f32], out: &mut [f32], (m, k, n): (usize, usize, usize)) {
    assert!(act.len() >= m * k && weight.len() >= n * k && out.len() >= m * n);
    let int = |x: usize| c_int::try_from(x).expect("a shape that C can say");
    // SAFETY: the slices hold what the shape says, as just asserted; the library writes only `out`.
    unsafe {
        cblas_sgemm(
            ROW_MAJOR,
            NO_TRANSPOSE,
            TRANSPOSE,
            int(m),
            int(n),
            int(k),
            1.0,
            act.as_ptr(),
            int(k),
            weight.as_ptr(),
            int(k),
            0.0,
            out.as_mut_ptr(),
            int(n),
        );
    }
}
