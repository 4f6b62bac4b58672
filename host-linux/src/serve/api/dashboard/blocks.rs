//! The KV blocks of a view as they are told: counts by use, and a map of runs.
use super::event::{KvPart, MapPart};
use verbatim_core::cache::BLOCK;
use verbatim_core::engine::Status;

/// Cells of a map, at most: with more blocks than that a cell stands for several.
pub(super) const CELLS_MAX: usize = 4096;
/// The lowest number of a block that is held; one more than the sequences that hold it.
const HELD_BY_ONE: u8 = 2;

/// The map of blocks by their uses, which are numbered as the engine does.
pub(super) fn map(blocks: &[u8]) -> MapPart {
    let blocks_per_cell = blocks.len().div_ceil(CELLS_MAX).max(1);
    let cells = blocks.chunks(blocks_per_cell).map(|cell| cell.iter().copied().max().unwrap_or(0));
    let (mut runs, mut count): (Vec<(u8, usize)>, usize) = (Vec::new(), 0);
    for state in cells {
        count += 1;
        match runs.last_mut() {
            Some((of, length)) if *of == state => *length += 1,
            _ => runs.push((state, 1)),
        }
    }
    MapPart { blocks_per_cell, cells: count, runs }
}

/// How many blocks are held by one, by two and so on: numbers of holders, ascending, with blocks.
fn sharing(blocks: &[u8]) -> Vec<(usize, usize)> {
    let mut counts = [0_usize; 256];
    for block in blocks {
        counts[usize::from(*block)] += 1;
    }
    let held = counts.iter().enumerate().skip(usize::from(HELD_BY_ONE));
    held.filter(|(_, count)| **count > 0).map(|(state, count)| (state - 1, *count)).collect()
}

/// What is told of the blocks of a view, of which `status` is of the same moment. Before the first
/// view there is no map.
pub(super) fn kv(blocks: &[u8], status: &Status) -> KvPart {
    let sharing = sharing(blocks);
    KvPart {
        blocks: status.blocks,
        block_tokens: BLOCK,
        free: status.free_blocks.saturating_sub(status.cached_blocks),
        cached: status.cached_blocks,
        held: status.blocks.saturating_sub(status.free_blocks),
        shared: sharing.iter().filter(|(holders, _)| *holders > 1).map(|(_, count)| count).sum(),
        sharing,
        map: (!blocks.is_empty()).then(|| map(blocks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_one_run() {
        let blocks = [2, 2, 3, 1, 0, 0, 0, 2];
        let expected = vec![(2, 2), (3, 1), (1, 1), (0, 3), (2, 1)];
        assert_eq!(map(&blocks), MapPart { blocks_per_cell: 1, cells: 8, runs: expected });
        assert_eq!(sharing(&blocks), [(1, 3), (2, 1)]);
        assert_eq!(sharing(&[255, 255, 1]), [(254, 2)], "as many or more");
        let status = Status { blocks: 8, free_blocks: 4, cached_blocks: 1, ..Status::default() };
        let kv = kv(&blocks, &status);
        assert_eq!((kv.free, kv.cached, kv.held, kv.shared), (3, 1, 4, 1));
    }

    #[test]
    fn many_blocks_share_cells() {
        let mut blocks = vec![0; 3 * CELLS_MAX + 1];
        (blocks[0], blocks[1], blocks[5], blocks[3 * CELLS_MAX]) = (1, 3, 1, 2);
        let map = map(&blocks);
        assert_eq!((map.blocks_per_cell, map.cells), (4, 3 * CELLS_MAX / 4 + 1));
        assert_eq!(map.runs[..3], [(3, 1), (1, 1), (0, 3 * CELLS_MAX / 4 - 2)]);
        assert_eq!(map.runs[3..], [(2, 1)], "the most used block of a cell is told");
        assert_eq!(map.runs.iter().map(|(_, length)| length).sum::<usize>(), map.cells);
        assert!(super::map(&vec![0; 1 << 20]).cells <= CELLS_MAX);
        assert_eq!(super::map(&[]).cells, 0);
    }
}
