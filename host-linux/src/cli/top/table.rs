//! The sequences, a line each.
use super::app::View;
use super::event::Sequence;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// Columns of the name of a sequence, at least.
const NAME_MIN: usize = 12;
/// Columns that the figures of a sequence take.
const FIGURES: usize = 62;
/// Columns of the route, where there is room.
const ROUTE: usize = 24;

/// A line: the name, the route if there is room, and the figures.
fn line(name: &str, route: &str, figures: &str, width: usize) -> String {
    let has_route = width >= NAME_MIN + FIGURES + ROUTE;
    let of_name = width.saturating_sub(FIGURES + if has_route { ROUTE } else { 0 }).max(NAME_MIN);
    let cut = |text: &str, width: usize| text.chars().take(width - 1).collect::<String>();
    let mut line = format!("{:of_name$}", cut(name, of_name));
    if has_route {
        line += &format!("{:ROUTE$}", cut(route, ROUTE));
    }
    line + figures
}

fn of(sequence: &Sequence, width: usize) -> String {
    let rate = sequence.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let figures = format!(
        "{:9} {:>11} {:>11} {rate:>7} {:>7.1}s {:>6} {:>4}",
        sequence.phase.chars().take(9).collect::<String>(),
        format!("{}/{}", sequence.prompt_done, sequence.prompt_tokens),
        format!("{}/{}", sequence.tokens, sequence.max_tokens),
        sequence.waited,
        sequence.blocks,
        sequence.preemptions,
    );
    line(&sequence.name, &sequence.route, &figures, width)
}

fn colour(phase: &str) -> Color {
    match phase {
        "prefill" => Color::Blue,
        "decode" => Color::Green,
        "waiting" => Color::DarkGray,
        _ => Color::Yellow,
    }
}

/// Draws a heading and as many sequences as there is room for, the chosen one among them.
pub(super) fn draw(view: &View<'_>, area: Rect, to: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (width, look) = (usize::from(area.width), view.look);
    let names = format!(
        "{:9} {:>11} {:>11} {:>7} {:>8} {:>6} {:>4}",
        "phase", "prompt", "tokens", "tok/s", "waited", "blocks", "pre"
    );
    let total = view.state.event().count("/sequences_total");
    let heading = line(&format!("sequences {total}"), "route", &names, width);
    to.set_stringn(area.x, area.y, heading, width, look.style(Style::new().add_modifier(Modifier::BOLD)));
    let room = usize::from(area.height - 1);
    let sequences = &view.state.sequences;
    let chosen = sequences.iter().position(|sequence| Some(&sequence.id) == view.chosen);
    let from = chosen.map_or(0, |at| (at + 1).saturating_sub(room));
    for (row, (at, sequence)) in sequences.iter().enumerate().skip(from).take(room).enumerate() {
        let mut style = look.style(Style::new().fg(colour(&sequence.phase)));
        if Some(at) == chosen {
            // The choice is shown where there are no colours, too.
            style = style.add_modifier(Modifier::REVERSED);
        }
        let text = format!("{:width$}", of(sequence, width));
        to.set_stringn(area.x, area.y + 1 + row as u16, text, width, style);
    }
}
