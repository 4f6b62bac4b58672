//! Tables of Markdown: lines that begin with `|`, of which the second has a run of `-` for each
//! column and tells by `:` on which side its cells stand.
//!
//! How wide a column is shows at the table's end, so its lines are held until then. What is too
//! long to be held, or wider than the terminal, is text as it was written.
use super::spans::{Marks, spans};
use super::styles::{BOLD, DIM, PLAIN};
use ratatui::text::Span;

/// Lines of a table that are held, at most.
const LINES_MAX: usize = 200;
/// Bytes of a table that are held, at most.
const BYTES_MAX: usize = 64 << 10;
/// Bytes of a cell, at most, with its marks. Nobody reads longer ones in columns.
const CELL_MAX: usize = 1000;

/// What lines that may be a table turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// More must come before that is known.
    Open,
    /// So many bytes are a table, and what follows them is not of it.
    Table(usize),
    /// So many bytes are text like any other, and what follows them may be anything.
    Text(usize),
}

/// Lines that may be a table. The first one begins with `|`, behind spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    text: String,
    /// Where the last line begins, which has not ended.
    last: usize,
    /// Whether the last line has more than spaces.
    has_begun: bool,
    /// Lines that have ended.
    lines: usize,
}

impl Held {
    /// All that is held.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Takes one more character.
    pub(super) fn push(&mut self, c: char) -> Fate {
        self.text.push(c);
        match c {
            _ if self.has_begun => {}
            ' ' => {}
            '|' if self.lines == LINES_MAX => return Fate::Text(self.text.len()),
            '|' => self.has_begun = true,
            _ if self.lines < 2 => return Fate::Text(self.last),
            _ => return Fate::Table(self.last),
        }
        if self.text.len() > BYTES_MAX {
            return Fate::Text(self.text.len());
        }
        if c == '\n' {
            if self.lines == 1 && !self.has_columns() {
                return Fate::Text(self.last);
            }
            self.lines += 1;
            (self.last, self.has_begun) = (self.text.len(), false);
        }
        Fate::Open
    }

    /// What it is, now that nothing follows.
    pub(super) fn end(&self) -> Fate {
        match self.lines {
            0 => Fate::Text(self.text.len()),
            1 if !self.has_columns() => Fate::Text(self.last),
            _ if self.text[self.last..].trim().is_empty() => Fate::Table(self.last),
            _ => Fate::Table(self.text.len()),
        }
    }

    /// Whether the last line, the second one, gives each column of the first a place.
    fn has_columns(&self) -> bool {
        let sides = sides(&self.text[self.last..]);
        sides.is_some_and(|sides| sides.len() == cells(&self.text[..self.last]).len())
    }
}

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Middle,
}

/// What a table's second line says of its columns; none if it is no such line.
fn sides(line: &str) -> Option<Vec<Side>> {
    let side = |cell: String| {
        let marks = cell.strip_prefix(':').unwrap_or(&cell);
        let marks = marks.strip_suffix(':').unwrap_or(marks);
        let is_run = !marks.is_empty() && marks.bytes().all(|mark| mark == b'-');
        is_run.then(|| match (cell.starts_with(':'), cell.ends_with(':')) {
            (true, true) => Side::Middle,
            (false, true) => Side::Right,
            _ => Side::Left,
        })
    };
    cells(line).into_iter().map(side).collect()
}

/// The cells of a line: what stands between `|` without a backslash before it.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for c in line.chars() {
        let cell = cells.last_mut().filter(|_| c != '|' || is_escaped);
        match cell {
            None => cells.push(String::new()),
            Some(cell) => {
                if c == '|' {
                    cell.pop(); // the backslash
                }
                cell.push(if c == '\t' { ' ' } else { c });
            }
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    // A line may end with the end of its last cell.
    if cells.len() > 1 && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// A cell as the terminal gets it, and the columns that it takes there.
fn cell(text: &str, style: &str) -> (String, usize) {
    let mut out = String::new();
    spans(text, &Marks { style, before: ' ', is_whole: true }, &mut out);
    // Only codes of styles have this character.
    let mut bare = String::new();
    for (i, part) in out.split('\x1b').enumerate() {
        bare.push_str(if i == 0 { part } else { part.split_once('m').map_or("", |(_, text)| text) });
    }
    let width = Span::raw(bare).width();
    if !style.is_empty() && width > 0 {
        out = format!("{style}{out}{PLAIN}");
    }
    (out, width)
}

/// A table as a terminal of so many columns gets it; none if it is too wide for it or a cell is too
/// long.
pub(super) fn shown(table: &str, columns: usize) -> Option<String> {
    let mut lines = table.lines();
    let head = lines.next()?;
    let indent = head.len() - head.trim_start_matches(' ').len();
    let sides = sides(lines.next()?)?;
    let styled = |line: &str, style: &str| -> Option<Vec<(String, usize)>> {
        let cells = cells(line);
        let cells = cells.iter().map(|text| (text.len() <= CELL_MAX).then(|| cell(text, style)));
        cells.collect()
    };
    let mut rows = vec![styled(head, BOLD)?];
    for line in lines {
        rows.push(styled(line, "")?);
    }
    let count = rows.iter().map(Vec::len).max()?;
    // What stands between two columns takes three.
    if indent + 4 * count > columns + 3 {
        return None;
    }
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.1).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(|at| width(at).max(1)).collect();
    if indent + widths.iter().sum::<usize>() + 3 * (count - 1) > columns {
        return None;
    }
    let side = |at: usize| sides.get(at).copied().unwrap_or(Side::Left);
    let row = |row: &Vec<(String, usize)>| {
        let cell = |(at, width): (usize, &usize)| {
            let (text, used) = row.get(at).cloned().unwrap_or_default();
            let left = match side(at) {
                _ if used == 0 => 0,
                Side::Left => 0,
                Side::Right => width - used,
                Side::Middle => (width - used) / 2,
            };
            // Nothing stands behind the last one.
            let right = if at + 1 < count { width - used - left } else { 0 };
            format!("{:left$}{text}{:right$}", "", "")
        };
        let cells: Vec<String> = widths.iter().enumerate().map(cell).collect();
        format!("{:indent$}{}", "", cells.join(&format!(" {DIM}│{PLAIN} ")))
    };
    let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let mut all: Vec<String> = rows.iter().map(row).collect();
    all.insert(1, format!("{:indent$}{DIM}{}{PLAIN}", "", rules.join("─┼─")));
    let end = if table.ends_with('\n') { "\n" } else { "" };
    Some(all.join("\n") + end)
}

#[cfg(test)]
mod tests {
    use super::super::styles::CODE;
    use super::*;

    /// What becomes of a text, and how many of its characters tell.
    fn fate(text: &str) -> (Fate, usize) {
        let mut held = Held::default();
        for (i, c) in text.chars().enumerate() {
            let fate = held.push(c);
            if fate != Fate::Open {
                return (fate, i + 1);
            }
        }
        (held.end(), text.chars().count())
    }

    /// A table on a terminal of 40 columns, without codes.
    fn told(table: &str) -> Option<String> {
        let shown = shown(table, 40)?;
        Some([BOLD, CODE, DIM, PLAIN].iter().fold(shown, |text, code| text.replace(code, "")))
    }

    #[test]
    fn lines_are_a_table_by_the_second_one() {
        let table = "| a | b |\n|---|:-:|\n| c | d |\n";
        assert_eq!(fate(table), (Fate::Table(table.len()), table.len()));
        for behind in ["\n", "x", "# "] {
            let text = format!("{table}{behind}");
            assert_eq!(fate(&text), (Fate::Table(table.len()), table.len() + 1), "{behind:?}");
        }
        assert_eq!(fate("| a |\n|--"), (Fate::Table(9), 9), "as far as it came");
        assert_eq!(fate("| a |\n|-|\n  "), (Fate::Table(10), 12));
        assert_eq!(fate("|a| is a size\n"), (Fate::Text(14), 14));
        assert_eq!(fate("|a| is a size\nof a"), (Fate::Text(14), 15), "nothing more is waited for");
        for second in ["|---|", "| b | c |", "|--|--|--|", "|:|-|", "||"] {
            assert_eq!(fate(&format!("| a | b |\n{second}\n")).0, Fate::Text(10), "{second}");
        }
    }

    #[test]
    fn what_is_too_long_is_text() {
        let begin = "| a |\n|---|\n";
        let rows = |count| format!("{begin}{}", "| b |\n".repeat(count));
        let fits = rows(LINES_MAX - 2);
        assert_eq!(fate(&fits).0, Fate::Table(fits.len()));
        assert_eq!(fate(&rows(LINES_MAX)).0, Fate::Text(fits.len() + 1));
        let long = format!("{begin}|{}", "x".repeat(BYTES_MAX));
        assert_eq!(fate(&long), (Fate::Text(BYTES_MAX + 1), BYTES_MAX + 1));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = "| Name | Count | Of |\n|:--|--:|:-:|\n| **日本** | 7 | `a\\|b` |\n|x|| c\n|||";
        let expected =
            "Name │ Count │ Of\n─────┼───────┼────\n日本 │     7 │ a|b\nx    │       │  c\n     │       │ ";
        assert_eq!(told(text).as_deref(), Some(expected));
        let shown = shown(text, 40).expect("it fits");
        assert!(
            shown.starts_with(&format!("{BOLD}Name{PLAIN} {DIM}│{PLAIN} {BOLD}Count{PLAIN}")),
            "{shown:?}"
        );
        assert!(shown.contains(&format!("{BOLD}日本{PLAIN} ")), "{shown:?}");
    }

    #[test]
    fn rows_may_have_other_cells_than_the_head() {
        assert_eq!(
            told("|a|b|\n|-|-|\n|c|d|e|\n|f").as_deref(),
            Some("a │ b │ \n──┼───┼──\nc │ d │ e\nf │   │ ")
        );
        assert_eq!(told("  |a|\n  |-|\n  |\n").as_deref(), Some("  a\n  ─\n  \n"));
        assert_eq!(
            told("|a|\n|-|\n|\\\\|b|").as_deref(),
            Some("a │ \n──┼──\n\\ │ b"),
            "an escaped backslash"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_is_none() {
        let table = |width: usize| format!("|{}|b|\n|-|-|\n", "x".repeat(width));
        assert!(told(&table(36)).is_some() && told(&table(37)).is_none());
        assert!(told(&format!("{}\n{}\n", "|a".repeat(11), "|-".repeat(11))).is_none());
        assert!(told(&format!("{}\n{}\n", "|a".repeat(10), "|-".repeat(10))).is_some());
        let marks = |count| format!("|a|\n|-|\n|{}|\n", "`".repeat(count) + "b" + &"`".repeat(count));
        assert!(told(&marks(400)).is_some() && told(&marks(500)).is_none(), "a long cell is not looked at");
    }
}
