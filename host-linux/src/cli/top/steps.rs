//! The last steps as a picture: rows by kind as bars, and the time of each below.
use super::event::{KINDS, Step};
use super::look::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use std::collections::VecDeque;

/// The colours of the kinds of rows.
pub(super) const COLOURS: [Color; 4] = [Color::Blue, Color::Green, Color::Yellow, Color::Magenta];
/// Parts of a column's height, by eighths.
const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// How high a part of a whole is in a bar of so many eighths: whatever there is can be seen.
fn height(part: f64, whole: f64, eighths: usize) -> usize {
    if part <= 0.0 || whole <= 0.0 {
        return 0;
    }
    ((part / whole * eighths as f64).round() as usize).clamp(1, eighths)
}

/// Draws the last steps, the newest at the right: bars above, one line of times at the bottom.
pub(super) fn draw(steps: &VecDeque<Step>, look: Look, area: Rect, to: &mut Buffer) {
    if area.height < 2 || area.width == 0 {
        return;
    }
    let shown: Vec<&Step> = steps.iter().rev().take(usize::from(area.width)).collect();
    let most_rows = shown.iter().map(|step| step.rows.iter().sum::<u64>()).max().unwrap_or(0) as f64;
    let longest = shown.iter().map(|step| step.ms).fold(0.0, f64::max);
    for (back, step) in shown.iter().enumerate() {
        let x = area.right() - 1 - back as u16;
        let bars = Rect { x, width: 1, height: area.height - 1, ..area };
        bar(step, most_rows, look, bars, to);
        let is_late = step.budget_ms.is_some_and(|budget| budget > 0.0 && step.ms > budget);
        let style = look.style(Style::new().fg(if is_late { Color::Red } else { Color::Cyan }));
        to.set_string(x, area.bottom() - 1, EIGHTHS[height(step.ms, longest, 8)], style);
    }
}

/// One step's rows. With colours two kinds may share a character, one above the other.
fn bar(step: &Step, most: f64, look: Look, area: Rect, to: &mut Buffer) {
    let rows = step.rows.map(|rows| rows as f64);
    let total: f64 = rows.iter().sum();
    if !look.has_colours {
        let full = height(total, most, usize::from(area.height) * 8);
        for up in 0..area.height {
            let eighths = full.saturating_sub(usize::from(up) * 8).min(8);
            to.set_string(area.x, area.bottom() - 1 - up, EIGHTHS[eighths], Style::new());
        }
        return;
    }
    // Half a character is the unit.
    let halves = usize::from(area.height) * 2;
    let full = height(total, most, halves);
    let kind_at = |half: usize| {
        let share = (half as f64 + 0.5) / full.max(1) as f64 * total;
        let mut below = 0.0;
        let kind = rows.iter().position(|rows| {
            below += rows;
            share <= below
        });
        kind.filter(|_| half < full).map(|kind| COLOURS[kind])
    };
    for up in 0..area.height {
        let (lower, upper) = (kind_at(usize::from(up) * 2), kind_at(usize::from(up) * 2 + 1));
        let (character, style) = match (lower, upper) {
            (None, _) => (" ", Style::new()),
            (Some(lower), None) => ("▄", Style::new().fg(lower)),
            (Some(lower), Some(upper)) => ("▄", Style::new().fg(lower).bg(upper)),
        };
        to.set_string(area.x, area.bottom() - 1 - up, character, style);
    }
}

/// What the newest step did, in words.
pub(super) fn described(steps: &VecDeque<Step>) -> String {
    let Some(step) = steps.back() else { return "none so far".to_owned() };
    let rows: Vec<String> = KINDS
        .iter()
        .zip(step.rows)
        .filter(|(_, rows)| *rows > 0)
        .map(|(kind, rows)| format!("{rows} {kind}"))
        .collect();
    let budget = step.budget_ms.map(|budget| format!(" of {budget:.0}")).unwrap_or_default();
    format!("{}, {:.1}{budget} ms", rows.join(" + "), step.ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(steps: &[Step], look: Look) -> Buffer {
        let area = Rect::new(0, 0, 4, 3);
        let mut to = Buffer::empty(area);
        draw(&steps.iter().cloned().collect(), look, area, &mut to);
        to
    }

    #[test]
    fn steps_are_bars_with_their_times_below() {
        let step = |rows, ms, budget| Step { number: 0, rows, ms, budget_ms: Some(budget) };
        let steps = [step([0, 1, 0, 0], 10.0, 50.0), step([12, 4, 0, 0], 80.0, 50.0)];
        let plain = drawn(&steps, Look { has_colours: false });
        assert_eq!(plain, Buffer::with_lines(["   █", "  ▁█", "  ▁█"]));
        let coloured = drawn(&steps, Look { has_colours: true });
        let cell = |x, y| {
            let cell = &coloured[(x, y)];
            (cell.symbol().to_owned(), cell.fg, cell.bg)
        };
        assert_eq!(cell(3, 0), ("▄".to_owned(), Color::Blue, Color::Green), "a quarter of it is decode");
        assert_eq!(cell(3, 1), ("▄".to_owned(), Color::Blue, Color::Blue));
        assert_eq!(cell(2, 1), ("▄".to_owned(), Color::Green, Color::Reset));
        assert_eq!((cell(3, 2).1, cell(2, 2).1), (Color::Red, Color::Cyan), "one took longer than it should");
        assert_eq!(drawn(&[], Look { has_colours: true }), Buffer::empty(Rect::new(0, 0, 4, 3)));
    }
}
