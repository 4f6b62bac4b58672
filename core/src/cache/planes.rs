//! The planes of the KV cache: where the keys and values of each block lie.
//!
//! The planes are `[layer][K | V][block][kv head]`, each head's part of a block 64-byte aligned.
//! For a head of width D, D' being D rounded up to 16, a part is:
//!
//! * K f32 `[D][16]`, bf16 `[D / 2][16][2]`, int8 `[D / 4][16][4]`: lanes are the block's
//!   positions, so scoring a block against a query is one accumulator and no sum across lanes.
//! * V f32 `[16][D']`, bf16 `[8][D'][2]`, int8 `[4][D'][4]`: lanes are the head's elements; pairs
//!   and quads are neighbouring positions.
//!
//! Both are the layout of a weight panel, so the micro-kernel of the matrix product serves
//! attention. A part of int8 keys has, after its signed 8-bit elements (D rounded up to 4), a
//! zero-point correction (`[16]` i32, `−128 Σ k`: queries are offset by 128) and a scale (`[16]`
//! f32) for each position; a part of int8 values has the scales only. A scale belongs to one
//! position, since a scale of the whole block would change with each position written.
//! [`KvLayout`] is the only place that knows the size of a part.
//!
//! A block is zeroed after it was taken: positions that are not written yet then hold finite
//! numbers, which a probability of zero cancels exactly.
#![allow(unsafe_code)]

use super::{BLOCK, BlockId};
use crate::dtype::KvFormat;
use crate::isa::LANES;
use crate::memory::{ArenaError, Carver, REGION_ALIGN};
use crate::pool::{Phase, Pool};

/// Bytes of the zero-point corrections of one head's keys in a block.
pub const CORRECTIONS_BYTES: usize = BLOCK * size_of::<i32>();
/// Bytes of the scales of one head's keys or values in a block.
pub const SCALES_BYTES: usize = BLOCK * size_of::<f32>();

/// Which of a layer's two planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// The keys of all blocks of a layer, which come first.
    Keys = 0,
    /// The values of all blocks of a layer.
    Values = 1,
}

/// Everything from which the sizes and offsets of the planes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// How each element of a key or value is stored.
    pub format: KvFormat,
    /// Transformer layers, each with planes of its own.
    pub layer_count: usize,
    /// Heads of keys and values, which several heads of queries may share.
    pub kv_head_count: usize,
    /// The width of a head in elements, D.
    pub head_dim: usize,
    /// Blocks in every plane.
    pub block_count: usize,
}

impl KvLayout {
    /// D', the width in elements at which a head's values are stored.
    pub fn value_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Bytes of the elements in one head's part of a block; corrections and scales come after them.
    #[inline(always)]
    pub fn element_bytes(&self, plane: Plane) -> usize {
        let width = match (plane, self.format) {
            (Plane::Keys, KvFormat::F32 | KvFormat::Bf16) => self.head_dim,
            (Plane::Keys, KvFormat::Int8) => self.head_dim.next_multiple_of(4),
            (Plane::Values, _) => self.value_dim(),
        };
        width * BLOCK * self.format.element_bytes()
    }

    /// Bytes of one head's part of a block in a plane.
    #[inline(always)]
    pub fn head_bytes(&self, plane: Plane) -> usize {
        let behind = match (self.format, plane) {
            (KvFormat::F32 | KvFormat::Bf16, _) => 0,
            (KvFormat::Int8, Plane::Keys) => CORRECTIONS_BYTES + SCALES_BYTES,
            (KvFormat::Int8, Plane::Values) => SCALES_BYTES,
        };
        self.element_bytes(plane) + behind
    }

    /// Bytes of one block in one plane of one layer.
    pub fn block_bytes(&self, plane: Plane) -> usize {
        self.head_bytes(plane) * self.kv_head_count
    }

    /// Bytes of the two planes of one layer.
    pub fn layer_bytes(&self) -> usize {
        (self.block_bytes(Plane::Keys) + self.block_bytes(Plane::Values)) * self.block_count
    }

    /// Bytes of the planes of all layers.
    pub fn total_bytes(&self) -> usize {
        self.layer_bytes() * self.layer_count
    }

    /// Where a head's part of a block begins, in bytes from the first plane's start.
    #[inline(always)]
    pub fn offset(&self, layer: usize, plane: Plane, block: usize, kv_head: usize) -> usize {
        debug_assert!(layer < self.layer_count && block < self.block_count && kv_head < self.kv_head_count);
        let plane_start = match plane {
            Plane::Keys => 0,
            Plane::Values => self.block_bytes(Plane::Keys) * self.block_count,
        };
        layer * self.layer_bytes()
            + plane_start
            + block * self.block_bytes(plane)
            + kv_head * self.head_bytes(plane)
    }
}

/// The copying of one block to another, in all layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BlockCopy {
    /// The block that is read.
    pub from: BlockId,
    /// The block that is written.
    pub to: BlockId,
}

crate::memory::plain!(BlockCopy { from, to });

/// The bytes of all planes.
#[derive(Debug)]
pub struct KvCache<'s> {
    layout: KvLayout,
    bytes: &'s mut [u8],
    /// The positions of each block that the present step writes, a bit for each: `[blocks]`.
    claimed: &'s mut [u16],
}

const _: () = assert!(BLOCK == u16::BITS as usize);

impl<'s> KvCache<'s> {
    /// Carves the planes of this layout, all zero.
    pub fn carve(carver: &mut impl Carver<'s>, layout: KvLayout) -> Result<Self, ArenaError> {
        let bytes = carver.carve::<u8>("KV blocks", layout.total_bytes())?;
        let claimed = carver.carve("claimed KV positions", layout.block_count)?;
        Ok(Self { layout, bytes, claimed })
    }

    /// Asserts that no two of these positions, each a block and a slot in it, are the same one. The
    /// rows of a step write them at once, so two rows for one position would race.
    ///
    /// # Panics
    /// If a position is there twice, or its block is out of range.
    pub fn check_apart(&mut self, positions: impl Iterator<Item = (BlockId, usize)> + Clone) {
        for (block, slot) in positions.clone() {
            let (claimed, bit) = (&mut self.claimed[block as usize], 1 << slot);
            assert!(*claimed & bit == 0, "two rows of a step write slot {slot} of KV block {block}");
            *claimed |= bit;
        }
        for (block, _) in positions {
            self.claimed[block as usize] = 0;
        }
    }

    /// The layout for which the planes were carved.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Every byte of every plane, for tests that fill the blocks with NaN before they are used.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Makes the copies one after the other; the target of one may be the source of an earlier one.
    pub fn copy_blocks(&mut self, pool: &dyn Pool, copies: &[BlockCopy]) {
        if copies.is_empty() {
            return;
        }
        let kv = self.view();
        let layer_bytes = kv.layout.block_bytes(Plane::Keys) + kv.layout.block_bytes(Plane::Values);
        let elements = copies.len().saturating_mul(kv.layout.layer_count).saturating_mul(layer_bytes);
        pool.run_sized(Phase::CopyBlocks, kv.layout.layer_count, elements, &|layer, _| {
            for copy in copies.iter().filter(|copy| copy.from != copy.to) {
                for plane in [Plane::Keys, Plane::Values] {
                    let from = kv.part(layer, plane, copy.from as usize, 0);
                    let to = kv.part(layer, plane, copy.to as usize, 0);
                    // SAFETY: the heads of a block are contiguous, so a block's bytes follow its
                    // first head's start; two blocks do not overlap; a task has its layer for
                    // itself.
                    unsafe { to.copy_from_nonoverlapping(from, kv.layout.block_bytes(plane)) };
                }
            }
        });
    }

    /// A handle through which the tasks of one phase read and write.
    pub fn view(&mut self) -> KvView<'_> {
        KvView {
            layout: self.layout,
            base: self.bytes.as_mut_ptr(),
            len: self.bytes.len(),
            life: core::marker::PhantomData,
        }
    }
}

/// A handle to the planes that the tasks of a phase share.
///
/// Within a phase all tasks read, or each writes its own positions of its own heads. The callers of
/// the kernels' unsafe functions that take a view promise that.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    layout: KvLayout,
    base: *mut u8,
    len: usize,
    life: core::marker::PhantomData<&'a mut [u8]>,
}

// SAFETY: the pointer is into a slice borrowed mutably for 'a; who may touch what is the kernels'
// contract.
unsafe impl Send for KvView<'_> {}
// SAFETY: as above.
unsafe impl Sync for KvView<'_> {}

impl KvView<'_> {
    /// The layout for which the planes were carved.
    #[inline(always)]
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// A pointer to a head's part of a block: `head_bytes` readable and writable bytes, 64-byte
    /// aligned.
    ///
    /// # Panics
    /// If the part does not lie within the planes.
    #[inline(always)]
    pub fn part(&self, layer: usize, plane: Plane, block: usize, kv_head: usize) -> *mut u8 {
        let offset = self.layout.offset(layer, plane, block, kv_head);
        let end = offset + self.layout.head_bytes(plane);
        assert!(block < self.layout.block_count && end <= self.len, "a block outside the KV cache");
        debug_assert!(offset.is_multiple_of(REGION_ALIGN));
        self.base.wrapping_add(offset)
    }

    /// Zeroes a block in one layer.
    ///
    /// # Safety
    /// No other task touches that block of that layer meanwhile.
    pub unsafe fn zero(&self, layer: usize, block: usize) {
        for plane in [Plane::Keys, Plane::Values] {
            let start = self.part(layer, plane, block, 0);
            // SAFETY: the heads of a block are contiguous, so the block's bytes follow its first
            // head's start; no one else touches them.
            unsafe { start.write_bytes(0, self.layout.block_bytes(plane)) };
        }
    }
}
