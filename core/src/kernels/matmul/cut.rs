//! How a product is cut into tasks for workers.
//!
//! Panels are cut into ranges, so that each weight is read and unpacked once. A narrow weight has
//! too few panels for many workers; then many rows are cut into ranges too, and a panel is unpacked
//! once for each of them. No cut changes a bit.
use core::ops::Range;

/// The maximum of ranges of panels for each worker: enough to balance cores that are not equally
/// free, few enough that each task reuses the rows that it has read.
const TASKS_PER_WORKER: usize = 16;
/// The maximum of ranges for each worker where a step has at most [`ROWS_FEW`] rows. Those are read
/// again quickly, and short tasks leave the other workers less time to wait for the last one.
const TASKS_PER_WORKER_FEW: usize = 64;
/// The maximum of rows of a step that is taken for one of decoding.
const ROWS_FEW: usize = 16;
/// Rows are cut where there are fewer panels than this for each worker.
const TASKS_WANTED: usize = 2;
/// The minimum of rows of a task where rows are cut, which share the columns that the first tile
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
    /// The cut of a product with `panels` panels of the output, for a number of workers.
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
