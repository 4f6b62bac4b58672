//! What a matrix unit for bytes (AMX) does at most: products of tiles that stay in their registers.
use verbatim_core::isa::Isa;

/// Operations of a round, two for each multiply-add; 0 where the instruction set has no such unit.
pub(super) fn operations(isa: Isa) -> f64 {
    if isa.name() == "avx512-amx" { 4.0 * 2.0 * 16.0 * 16.0 * 64.0 } else { 0.0 }
}

/// Runs rounds of four products that do not wait for each other.
#[cfg(target_arch = "x86_64")]
pub(super) fn run(isa: Isa, rounds: usize) {
    use std::arch::asm;

    #[repr(C, align(64))]
    struct Config {
        palette: [u8; 16],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }
    if isa.name() != "avx512-amx" || rounds == 0 {
        return;
    }
    let mut config = Config { palette: [0; 16], row_bytes: [0; 16], rows: [0; 16] };
    config.palette[0] = 1;
    config.row_bytes[..8].fill(64);
    config.rows[..8].fill(16);
    // SAFETY: an instruction set of that name is a proof that the CPU has the unit and the system
    // lets us use it. Configuring zeroes the tiles; no memory is written.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            "tilerelease",
            config = in(reg) &raw const config,
            rounds = inout(reg) rounds => _,
            options(readonly, nostack)
        );
    }
}

/// Does nothing: there is no such unit.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn run(_: Isa, _: usize) {}
