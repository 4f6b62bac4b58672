//! Memory: regions carved from bytes that the caller lends.
//!
//! The core never allocates. Every table and buffer is sized before anything runs; the host lends
//! one `&mut [u8]` per arena, and [`Arena::carve`] cuts typed, zeroed, 64-byte-aligned regions from
//! it. A [`Layout`] counts the same regions without memory, so one function that names each region
//! once serves both the plan and the carving ([`Carver`]): they cannot disagree. [`FixedVec`] is a
//! vector over a region.
//!
//! In debug builds every region is followed by a guard of 64 patterned bytes; [`Guards::check`]
//! names a region whose end was overrun.
#![allow(unsafe_code)]
mod fixed_vec;

pub use fixed_vec::FixedVec;

use half::bf16;

/// Alignment of every region, in bytes: a cache line, and the widest vector register.
pub const REGION_ALIGN: usize = 64;

/// Regions that one arena can have.
pub const REGIONS_MAX: usize = 96;

const GUARD_BYTES: usize = if cfg!(debug_assertions) { REGION_ALIGN } else { 0 };
const GUARD_PATTERN: u8 = 0xa5;

/// Types of which all-zero bytes are a value, and which own nothing: what a region may hold.
///
/// # Safety
/// All-zero bytes are a valid value; the type is `Copy` and its alignment divides [`REGION_ALIGN`].
pub unsafe trait Plain: Copy + 'static {}

/// Makes structs of plain fields [`Plain`]. Every field is named, in the order of the struct; all
/// of them must be plain.
///
/// ```ignore
/// plain!(Entry { token, amount });
/// ```
macro_rules! plain {
    ($($type:ident { $($field:ident),* $(,)? })*) => {
        $(
            // The pattern names every field, or does not compile.
            const _: fn($type) = |$type { $($field),* }| {
                $($crate::memory::must_be_plain($field);)*
            };
            // SAFETY: the struct is its fields, each of which is plain; the closure above says so.
            #[allow(unsafe_code)]
            unsafe impl $crate::memory::Plain for $type {}
        )*
    };
}
pub(crate) use plain;

/// Makes enums without fields [`Plain`]. The named variant is the one whose number is 0.
///
/// ```ignore
/// plain_enum!(RowOutput::None);
/// ```
macro_rules! plain_enum {
    ($($type:ident :: $zero:ident)*) => {
        $(
            const _: () = assert!($type::$zero as usize == 0);
            // SAFETY: an enum that casts to a number has no fields, and its zero is a variant.
            #[allow(unsafe_code)]
            unsafe impl $crate::memory::Plain for $type {}
        )*
    };
}
pub(crate) use plain_enum;

/// What [`plain!`] asks of a field.
pub(crate) const fn must_be_plain<T: Plain>(_: T) {}

/// Types of which any bytes at all are a value: what an image or a scratch may be read as.
///
/// # Safety
/// There are no invalid bits and no padding.
pub unsafe trait AnyBits: Plain {}

/// Numbers, and wrappers of one number that are declared here and have its layout.
macro_rules! any_bits {
    ($($number:ty)*) => {
        $(
            // SAFETY: a number: zeros and any other bits are a value, and there is no padding.
            unsafe impl Plain for $number {}
            // SAFETY: as above.
            unsafe impl AnyBits for $number {}
        )*
    };
}
any_bits!(u8 u16 u32 u64 i32 f32 f64 bf16);
// SAFETY: an array is its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
// SAFETY: a number. Images have none, since its size depends on the target.
unsafe impl Plain for usize {}

/// One byte, by itself or with a meaning.
pub trait ByteLike: AnyBits {
    /// The value as a plain byte.
    fn byte(self) -> u8;
}

impl ByteLike for u8 {
    #[inline(always)]
    fn byte(self) -> u8 {
        self
    }
}

/// Declares bytes with a meaning: structs that are one byte and nothing else, with [`ByteLike`].
macro_rules! byte_types {
    ($($(#[$attribute:meta])* $name:ident;)*) => {
        $(
            $(#[$attribute])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            #[repr(transparent)]
            pub struct $name(pub u8);
            // SAFETY: a transparent byte.
            #[allow(unsafe_code)]
            unsafe impl $crate::memory::Plain for $name {}
            // SAFETY: as above.
            #[allow(unsafe_code)]
            unsafe impl $crate::memory::AnyBits for $name {}
            impl $crate::memory::ByteLike for $name {
                #[inline(always)]
                fn byte(self) -> u8 {
                    self.0
                }
            }
        )*
    };
}
pub(crate) use byte_types;

/// The bytes as elements: `None` if their start is not aligned for `T` or the end is not whole.
pub fn cast<T: AnyBits>(bytes: &[u8]) -> Option<&[T]> {
    let fits = (bytes.as_ptr() as usize).is_multiple_of(align_of::<T>())
        && bytes.len().is_multiple_of(size_of::<T>());
    // SAFETY: aligned and whole, as just tested; any bytes are a value of the type; the lifetime is
    // the same.
    fits.then(|| unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

/// The bytes as elements that can be written: `None` if they are not aligned and whole.
pub fn cast_mut<T: AnyBits>(bytes: &mut [u8]) -> Option<&mut [T]> {
    cast::<T>(bytes)?;
    let len = bytes.len() / size_of::<T>();
    // SAFETY: aligned and whole, as `cast` found; any bytes are a value of the type and any value
    // of it is initialised bytes; the borrow is unique and handed on.
    Some(unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) })
}

/// The bytes of elements that are bytes.
pub fn bytes<B: ByteLike>(elements: &[B]) -> &[u8] {
    const { assert!(size_of::<B>() == 1) };
    // SAFETY: the elements' own bytes, initialised (`Plain`); the lifetime is the same.
    unsafe { core::slice::from_raw_parts(elements.as_ptr().cast(), elements.len()) }
}

/// The bytes of elements, to be written.
pub fn bytes_mut<T: AnyBits>(elements: &mut [T]) -> &mut [u8] {
    let len = size_of_val(elements);
    // SAFETY: the elements' own bytes, initialised; any bytes are values of the type; the borrow is
    // unique and handed on.
    unsafe { core::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), len) }
}

/// Why an arena could not give what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaError {
    /// The lent bytes do not start at a multiple of [`REGION_ALIGN`].
    Misaligned,
    /// The lent bytes are fewer than the plan says.
    TooSmall {
        /// The region that did not fit.
        region: &'static str,
        /// Bytes that the region needs, its guard included.
        needed_bytes: usize,
        /// Bytes that were left for it.
        left_bytes: usize,
    },
    /// A size overflowed `usize`.
    TooLarge {
        /// The region whose size overflows.
        region: &'static str,
    },
}

impl core::fmt::Display for ArenaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Misaligned => write!(f, "the arena does not start at a multiple of {REGION_ALIGN} bytes"),
            Self::TooSmall { region, needed_bytes, left_bytes } => {
                write!(
                    f,
                    "the arena is too small: {region} needs {needed_bytes} bytes, {left_bytes} are left"
                )
            }
            Self::TooLarge { region } => write!(f, "the size of {region} overflows the address space"),
        }
    }
}

impl core::error::Error for ArenaError {}

/// A receiver of named, sized regions: [`Layout`] only counts them, [`Arena`] hands them out.
pub trait Carver<'a> {
    /// `count` zeroed elements; an empty slice when only counting.
    fn carve<T: Plain>(&mut self, region: &'static str, count: usize) -> Result<&'a mut [T], ArenaError>;
}

/// A named size, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSize {
    /// The name of the region, which says what it holds.
    pub name: &'static str,
    /// Its bytes, rounded up to [`REGION_ALIGN`], guard included.
    pub bytes: usize,
}

/// The sizes of an arena's regions.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    regions: [RegionSize; REGIONS_MAX],
    count: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self { regions: [RegionSize { name: "", bytes: 0 }; REGIONS_MAX], count: 0 }
    }
}

impl Layout {
    /// The regions in the order in which they are carved.
    pub fn regions(&self) -> &[RegionSize] {
        &self.regions[..self.count]
    }

    /// Bytes of the whole arena.
    pub fn total_bytes(&self) -> usize {
        self.regions().iter().fold(0, |sum, region| sum.saturating_add(region.bytes))
    }
}

fn region_bytes<T>(region: &'static str, count: usize) -> Result<usize, ArenaError> {
    count
        .checked_mul(size_of::<T>())
        .and_then(|bytes| bytes.checked_next_multiple_of(REGION_ALIGN))
        .and_then(|bytes| bytes.checked_add(GUARD_BYTES))
        .filter(|bytes| *bytes <= isize::MAX as usize)
        .ok_or(ArenaError::TooLarge { region })
}

impl<'a> Carver<'a> for Layout {
    fn carve<T: Plain>(&mut self, region: &'static str, count: usize) -> Result<&'a mut [T], ArenaError> {
        let bytes = region_bytes::<T>(region, count)?;
        let total = self.total_bytes().checked_add(bytes);
        if total.is_none_or(|total| total > isize::MAX as usize) || self.count == REGIONS_MAX {
            return Err(ArenaError::TooLarge { region });
        }
        self.regions[self.count] = RegionSize { name: region, bytes };
        self.count += 1;
        Ok(&mut [])
    }
}

/// Lent bytes, from which regions are cut front to back.
#[derive(Debug)]
pub struct Arena<'a> {
    rest: &'a mut [u8],
    guards: Guards<'a>,
}

impl<'a> Arena<'a> {
    /// Takes the bytes. They must start at a multiple of [`REGION_ALIGN`].
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, ArenaError> {
        if !(bytes.as_ptr() as usize).is_multiple_of(REGION_ALIGN) {
            return Err(ArenaError::Misaligned);
        }
        Ok(Self { rest: bytes, guards: Guards { spans: [const { None }; REGIONS_MAX], count: 0 } })
    }

    /// Ends the carving. The guards are empty in release builds.
    pub fn finish(self) -> Guards<'a> {
        self.guards
    }
}

impl<'a> Carver<'a> for Arena<'a> {
    fn carve<T: Plain>(&mut self, region: &'static str, count: usize) -> Result<&'a mut [T], ArenaError> {
        const { assert!(REGION_ALIGN.is_multiple_of(align_of::<T>())) };
        let needed_bytes = region_bytes::<T>(region, count)?;
        let left_bytes = self.rest.len();
        if needed_bytes > left_bytes {
            return Err(ArenaError::TooSmall { region, needed_bytes, left_bytes });
        }
        let (bytes, rest) = core::mem::take(&mut self.rest).split_at_mut(needed_bytes);
        self.rest = rest;
        let (data, guard) = bytes.split_at_mut(needed_bytes - GUARD_BYTES);
        self.guards.add(region, guard);
        data.fill(0);
        // SAFETY: `data` starts at a multiple of 64 (the arena does, and every region's size is
        // one), which T's alignment divides; it holds at least `count` elements; zeros are a value
        // of a Plain type; and the bytes were split off, so nothing else refers to them for 'a.
        Ok(unsafe { core::slice::from_raw_parts_mut(data.as_mut_ptr().cast::<T>(), count) })
    }
}

/// The guards of an arena's regions.
#[derive(Debug)]
pub struct Guards<'a> {
    spans: [Option<(&'static str, &'a mut [u8])>; REGIONS_MAX],
    count: usize,
}

impl<'a> Guards<'a> {
    fn add(&mut self, region: &'static str, guard: &'a mut [u8]) {
        if !guard.is_empty() && self.count < REGIONS_MAX {
            guard.fill(GUARD_PATTERN);
            self.spans[self.count] = Some((region, guard));
            self.count += 1;
        }
    }

    /// The first region whose guard was overwritten.
    pub fn check(&self) -> Result<(), &'static str> {
        let spans = self.spans[..self.count].iter().flatten();
        for (region, guard) in spans {
            if guard.iter().any(|byte| *byte != GUARD_PATTERN) {
                return Err(region);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned([u8; 4096]);

    fn name_regions<'a>(carver: &mut impl Carver<'a>) -> Result<(), ArenaError> {
        let a = carver.carve::<f32>("a", 3)?;
        let b = carver.carve::<u64>("b", 9)?;
        assert!(a.iter().all(|x| *x == 0.0) && b.iter().all(|x| *x == 0));
        Ok(())
    }

    #[test]
    fn the_layout_counts_what_the_arena_carves() {
        let mut layout = Layout::default();
        name_regions(&mut layout).unwrap();
        assert_eq!(layout.total_bytes(), 64 + 128 + 2 * GUARD_BYTES);
        let mut memory = Aligned([7; 4096]);
        let mut arena = Arena::new(&mut memory.0[..layout.total_bytes()]).unwrap();
        name_regions(&mut arena).unwrap();
        assert!(arena.rest.is_empty());
        assert_eq!(arena.finish().check(), Ok(()));
    }

    #[test]
    fn too_little_memory_and_a_crooked_start_are_errors() {
        let mut memory = Aligned([0; 4096]);
        assert_eq!(Arena::new(&mut memory.0[4..]).unwrap_err(), ArenaError::Misaligned);
        let mut arena = Arena::new(&mut memory.0[..64]).unwrap();
        let error = arena.carve::<u8>("kv", 1000).unwrap_err();
        assert!(matches!(error, ArenaError::TooSmall { region: "kv", left_bytes: 64, .. }), "{error}");
        let error = arena.carve::<u64>("kv", usize::MAX / 2).unwrap_err();
        assert_eq!(error, ArenaError::TooLarge { region: "kv" });
    }

    #[test]
    fn more_regions_than_guards_are_carved_all_the_same() {
        #[repr(align(64))]
        struct Large([u8; (REGIONS_MAX + 3) * 128]);
        let mut memory = Large([0; (REGIONS_MAX + 3) * 128]);
        let mut arena = Arena::new(&mut memory.0).unwrap();
        for _ in 0..REGIONS_MAX + 3 {
            arena.carve::<u8>("a region", 1).unwrap();
        }
        assert_eq!(arena.finish().check(), Ok(()));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[cfg_attr(miri, ignore = "it overruns on purpose")]
    fn a_guard_names_the_region_that_was_overrun() {
        let mut memory = Aligned([0; 4096]);
        let mut arena = Arena::new(&mut memory.0).unwrap();
        arena.carve::<u8>("first", 64).unwrap();
        let second = arena.carve::<u8>("second", 64).unwrap();
        let guard = second.as_mut_ptr().wrapping_add(64);
        let guards = arena.finish();
        assert_eq!(guards.check(), Ok(()));
        // SAFETY: the byte after the region is its guard, inside `memory`.
        unsafe { guard.write(0) };
        assert_eq!(guards.check(), Err("second"));
    }
}
