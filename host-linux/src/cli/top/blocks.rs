//! The map of KV blocks: each cell is half a character with colours, and a character without.
use super::look::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

/// What cells are called, with how each is drawn with colours and without.
pub(super) const LEGEND: [(&str, Color, &str); 4] = [
    ("free", Color::DarkGray, "·"),
    ("cached", Color::Blue, "░"),
    ("held", Color::Green, "▓"),
    ("shared", Color::Yellow, "█"),
];

/// The place in the legend.
fn kind(state: u8) -> usize {
    usize::from(state.min(3))
}

/// Joins neighbours until all cells have a place; the busiest of them is what is shown.
fn fitted(cells: &[u8], places: usize) -> Vec<u8> {
    let each = cells.len().div_ceil(places.max(1)).max(1);
    cells.chunks(each).map(|cells| cells.iter().copied().max().unwrap_or(0)).collect()
}

/// Draws the cells line by line.
pub(super) fn draw(cells: &[u8], look: Look, area: Rect, to: &mut Buffer) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    if width == 0 || height == 0 {
        return;
    }
    let lines = if look.has_colours { height * 2 } else { height };
    let cells = fitted(cells, width * lines);
    for (at, state) in cells.iter().enumerate() {
        let (line, x) = (at / width, area.x + (at % width) as u16);
        let (_, colour, character) = LEGEND[kind(*state)];
        if !look.has_colours {
            to.set_string(x, area.y + line as u16, character, Style::new());
        } else if line % 2 == 0 {
            to.set_string(x, area.y + (line / 2) as u16, "▀", Style::new().fg(colour));
        } else if let Some(cell) = to.cell_mut((x, area.y + (line / 2) as u16)) {
            cell.set_bg(colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_a_place() {
        let area = Rect::new(0, 0, 4, 2);
        let cells = [0, 1, 2, 3, 255, 0, 0];
        let mut plain = Buffer::empty(area);
        draw(&cells, Look { has_colours: false }, area, &mut plain);
        assert_eq!(plain, Buffer::with_lines(["·░▓█", "█·· "]));
        let mut coloured = Buffer::empty(area);
        draw(&cells, Look { has_colours: true }, area, &mut coloured);
        assert_eq!((coloured[(0, 0)].fg, coloured[(0, 0)].bg), (Color::DarkGray, Color::Yellow));
        assert_eq!((coloured[(3, 0)].fg, coloured[(3, 0)].bg), (Color::Yellow, Color::Reset));
        assert_eq!(coloured[(0, 1)].symbol(), " ");
    }

    #[test]
    fn what_has_no_room_is_joined() {
        assert_eq!(fitted(&[0, 1, 0, 0, 2, 0, 0], 4), [1, 0, 2, 0]);
        assert_eq!(fitted(&[0, 1], 4), [0, 1]);
        assert!(fitted(&[], 4).is_empty());
        let mut to = Buffer::empty(Rect::new(0, 0, 3, 1));
        draw(&[2; 8192], Look { has_colours: false }, Rect::new(0, 0, 3, 1), &mut to);
        assert_eq!(to, Buffer::with_lines(["▓▓▓"]));
    }
}
