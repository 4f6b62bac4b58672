//! The features of an x86-64 CPU, from CPUID, and the state that its operating system saves, from
//! XCR0.
//!
//! `core` has no `is_x86_feature_detected!`, so the bits are read here.
use super::avx512::bf16_dot_is_two_fmas;
use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::sync::atomic::{AtomicU8, Ordering};

/// The groups of instructions that select an instruction set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// AVX2 and FMA, with YMM state saved.
    pub(super) avx2_fma: bool,
    /// AVX-512 F, BW, VL and VNNI, with ZMM and mask state saved.
    pub(super) avx512: bool,
    /// The bf16 dot product, beside the above; of [`features`] only where it is two FMAs.
    pub(super) avx512_bf16: bool,
    /// AMX-TILE and AMX-INT8 with the one palette of tiles there is, XCR0 allowing their state. A
    /// process must still ask for it.
    pub(super) amx_int8: bool,
    /// Whether the vendor is Intel.
    pub(super) intel: bool,
    /// Whether the core is AMD's Zen 4, the only one of family 25 with AVX-512.
    pub(super) zen4: bool,
    /// Whether the core is AMD's Zen 5: family 26, with AVX-512.
    pub(super) zen5: bool,
}

impl Features {
    /// One bit for each, below a bit that is always set.
    fn to_bits(self) -> u8 {
        let Features { avx2_fma, avx512, avx512_bf16, amx_int8, intel, zen4, zen5 } = self;
        let flags = [zen5, zen4, intel, amx_int8, avx512_bf16, avx512, avx2_fma];
        flags.into_iter().fold(1, |bits, flag| bits << 1 | u8::from(flag))
    }

    /// What [`Self::to_bits`] was made of.
    fn from_bits(bits: u8) -> Features {
        let flag = |n: u8| bits >> n & 1 == 1;
        Features {
            avx2_fma: flag(0),
            avx512: flag(1),
            avx512_bf16: flag(2),
            amx_int8: flag(3),
            intel: flag(4),
            zen4: flag(5),
            zen5: flag(6),
        }
    }
}

const XCR0_SSE_AVX: u64 = 0b110;
const XCR0_AVX512: u64 = 0b1110_0110;
const XCR0_TILES: u64 = 0b11 << 17;

/// Whether palette 1 has 8 tiles of 16 rows of 64 bytes, and products take whole ones; leaves 0x1D
/// and 0x1E exist.
fn tiles_are_as_expected() -> bool {
    #[allow(unused_unsafe)]
    // SAFETY: the caller saw that there are leaves up to 0x1E.
    let (first, palette, product) =
        unsafe { (__cpuid_count(0x1d, 0), __cpuid_count(0x1d, 1), __cpuid_count(0x1e, 0)) };
    first.eax >= 1
        && palette.eax == 1024 << 16 | 8192
        && palette.ebx == 8 << 16 | 64
        && palette.ecx & 0xffff == 16
        && product.ebx & 0xff_ffff == 64 << 8 | 16
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: the caller saw OSXSAVE, which says that XGETBV may be executed.
    unsafe { _xgetbv(0) }
}

/// The CPU's features, and whether the bf16 dot product behaves. All of it is found out once: every
/// CPUID of a virtual machine is answered by its host, which takes some ten microseconds.
pub(super) fn features() -> Features {
    /// 0 until they are read. Threads that read them at the same time find the same.
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    let mut bits = KNOWN.load(Ordering::Relaxed);
    if bits == 0 {
        let found = read();
        let avx512_bf16 = found.avx512_bf16 && bf16_dot_is_two_fmas();
        bits = Features { avx512_bf16, ..found }.to_bits();
        KNOWN.store(bits, Ordering::Relaxed);
    }
    Features::from_bits(bits)
}

/// Reads the CPU's features.
fn read() -> Features {
    let bit = |word: u32, n: u32| word >> n & 1 == 1;
    #[allow(unused_unsafe)] // safe since Rust 1.93, unsafe before
    // SAFETY: every x86-64 CPU has CPUID.
    let (leaf0, leaf1) = unsafe { (__cpuid(0), __cpuid(1)) };
    let os_saves_state = bit(leaf1.ecx, 27);
    if leaf0.eax < 7 || !os_saves_state {
        return Features::default();
    }
    // SAFETY: OSXSAVE was just seen, so the CPU has XSAVE.
    let xcr0 = unsafe { xcr0() };
    #[allow(unused_unsafe)]
    // SAFETY: leaf 7 exists.
    let (leaf7, leaf7_1) = unsafe { (__cpuid_count(7, 0), __cpuid_count(7, 1)) };
    let avx = bit(leaf1.ecx, 28) && xcr0 & XCR0_SSE_AVX == XCR0_SSE_AVX;
    let avx2_fma = avx && bit(leaf1.ecx, 12) && bit(leaf7.ebx, 5);
    let avx512 = avx
        && xcr0 & XCR0_AVX512 == XCR0_AVX512
        && bit(leaf7.ebx, 16) // F
        && bit(leaf7.ebx, 30) // BW
        && bit(leaf7.ebx, 31) // VL
        && bit(leaf7.ecx, 11); // VNNI
    let has_subleaf_1 = leaf7.eax >= 1;
    let maker = [leaf0.ebx, leaf0.edx, leaf0.ecx].map(u32::to_le_bytes);
    let made_by = |name: &[u8; 12]| maker.as_flattened() == name;
    // Family 15 says: add the extended one.
    let family = (leaf1.eax >> 8 & 0xf) + (leaf1.eax >> 20 & 0xff);
    Features {
        avx2_fma,
        avx512,
        avx512_bf16: avx512 && has_subleaf_1 && bit(leaf7_1.eax, 5),
        amx_int8: avx512
            && xcr0 & XCR0_TILES == XCR0_TILES
            && bit(leaf7.edx, 24) // TILE
            && bit(leaf7.edx, 25) // INT8
            && leaf0.eax >= 0x1e
            && tiles_are_as_expected(),
        intel: made_by(b"GenuineIntel"),
        zen4: made_by(b"AuthenticAMD") && family == 25 && avx512,
        zen5: made_by(b"AuthenticAMD") && family == 26 && avx512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::is_x86_feature_detected;

    #[test]
    fn what_is_kept_is_what_was_read() {
        let found = Features { avx512_bf16: features().avx512_bf16, ..read() };
        assert_eq!((features(), features()), (found, found));
        assert!(read().avx512_bf16 || !found.avx512_bf16);
        for n in 0..7 {
            let flags = Features::from_bits(0x80 | 1 << n);
            assert_eq!((flags.to_bits(), flags != Features::default()), (0x80 | 1 << n, true));
        }
    }

    #[test]
    fn the_bits_are_those_that_the_standard_library_reads() {
        let found = read();
        assert_eq!(found.avx2_fma, is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        assert_eq!(found.avx512, avx512);
        assert_eq!(found.avx512_bf16, avx512 && is_x86_feature_detected!("avx512bf16"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_standard_library_does_not_read_is_what_linux_says() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.split(':').next().unwrap().trim() == name);
            line.and_then(|line| line.split(':').nth(1)).unwrap_or("").trim()
        };
        let has = |flag: &str| field("flags").split(' ').any(|other| other == flag);
        let found = features();
        assert_eq!(found.amx_int8, has("amx_tile") && has("amx_int8") && found.avx512);
        assert_eq!(found.intel, field("vendor_id") == "GenuineIntel");
        let zen =
            |family| field("vendor_id") == "AuthenticAMD" && field("cpu family") == family && has("avx512f");
        assert_eq!((found.zen4, found.zen5), (zen("25"), zen("26")));
    }
}
