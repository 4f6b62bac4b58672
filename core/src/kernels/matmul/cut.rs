//! How a product is cut into tasks for workers.
//!
//! Into ranges of panels, as long as there are enough of them: each weight is then read and
//! unpacked once. A narrow weight on many cores has too few; with many rows those are cut too, and
//! a panel is unpacked once for each range of rows. No cut changes a bit.
use core::ops::Range;

/// Panels are cut into this many tasks a worker at most: enough to balance cores that are not
/// equally free, few enough that each uses for a while what it has read of the rows.
const TASKS_PER_WORKER: usize = 16;
/// Tasks a worker for at most [`ROWS_FEW`] rows, which a task has soon read again: short tasks,
/// since workers that are done wait for the last one.
const TASKS_PER_WORKER_FEW: usize = 64;
/// Rows up to which a step is taken for one of decoding.
const ROWS_FEW: usize = 16;
/// Tasks a worker below which rows are cut.
const TASKS_WANTED: usize = 2;
/// The minimum of rows of a task, where rows are cut: those that share what the first tile
/// dequantized.
const ROWS_MIN: usize = 32;

/// Ranges of panels times ranges of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    panels: usize,
    rows: usize,
    panel_ranges: usize,
    row_ranges: usize,
}

impl Cut {
    /// The cut for so many panels of the output, rows and workers.
    pub fn new(panels: usize, rows: usize, workers: usize) -> Self {
        let by_columns = Self::by_columns(panels, rows, workers);
        if workers == 1 || panels == 0 || panels >= TASKS_WANTED * workers {
            return by_columns;
        }
        let row_ranges = (TASKS_WANTED * workers).div_ceil(panels).min(rows / ROWS_MIN).max(1);
        Self { row_ranges, ..by_columns }
    }

    /// Ranges of panels alone.
    pub fn by_columns(panels: usize, rows: usize, workers: usize) -> Self {
        let tasks = if rows <= ROWS_FEW { TASKS_PER_WORKER_FEW } else { TASKS_PER_WORKER };
        Self { panels, rows, panel_ranges: panels.min(workers * tasks), row_ranges: 1 }
    }

    /// A range of rows for each worker, all panels.
    pub fn by_rows(panels: usize, rows: usize, workers: usize) -> Self {
        Self { panels, rows, panel_ranges: 1, row_ranges: workers.min(rows) }
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.panel_ranges * self.row_ranges
    }

    /// The panels and rows of a task. Tasks that follow each other have the same panels.
    pub fn of(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let range = |all: usize, parts: usize, part: usize| all * part / parts..all * (part + 1) / parts;
        (
            range(self.panels, self.panel_ranges, task / self.row_ranges),
            range(self.rows, self.row_ranges, task % self.row_ranges),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn every_panel_of_every_row_is_in_one_task() {
        for (panels, rows, workers) in [
            (1, 1, 1),
            (8, 512, 16),
            (7, 100, 4),
            (1, 512, 64),
            (80, 512, 2),
            (3, 40, 8),
            (1000, 3, 2),
            (5, 0, 3),
        ] {
            for cut in [Cut::new, Cut::by_columns, Cut::by_rows].map(|cut| cut(panels, rows, workers)) {
                let mut seen = vec![0; panels * rows];
                for task in 0..cut.tasks() {
                    let (of_panels, of_rows) = cut.of(task);
                    for panel in of_panels {
                        of_rows.clone().for_each(|row| seen[panel * rows + row] += 1);
                    }
                }
                assert!(seen.iter().all(|times| *times == 1), "{cut:?}");
            }
        }
    }

    #[test]
    fn rows_are_cut_where_panels_are_few() {
        assert_eq!(Cut::new(8, 512, 2).tasks(), 8, "enough panels");
        assert_eq!(Cut::new(8, 512, 16).tasks(), 32);
        assert_eq!(Cut::new(8, 48, 16).tasks(), 8, "too few rows");
        assert_eq!(Cut::new(1000, 512, 2).tasks(), 32);
        assert_eq!(Cut::new(1000, ROWS_FEW, 2).tasks(), 128, "short ones");
        assert_eq!(Cut::new(1000, ROWS_FEW + 1, 2).tasks(), 32);
    }
}
