//! The whole picture: lines of figures, steps, KV blocks, sequences, the log, and a line of keys.
use super::app::View;
use super::blocks::{self, LEGEND};
use super::event::KINDS;
use super::figures;
use super::look::Look;
use super::state::Link;
use super::steps;
use super::table;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// The smallest terminal that has room for anything.
const SMALLEST: (u16, u16) = (20, 5);
/// Lines from which on a terminal has room for the log.
const LOG_FROM: u16 = 30;

/// Draws over lines from above.
struct Pen<'b> {
    left: Rect,
    look: Look,
    to: &'b mut Buffer,
}

impl Pen<'_> {
    /// Takes lines off the top of what is left.
    fn take(&mut self, height: u16) -> Rect {
        let height = height.min(self.left.height);
        let taken = Rect { height, ..self.left };
        self.left.y += height;
        self.left.height -= height;
        taken
    }

    /// A line in parts with their styles.
    fn line(&mut self, parts: &[(String, Style)]) {
        let at = self.take(1);
        if at.height == 0 {
            return;
        }
        let spans = parts.iter().map(|(text, style)| Span::styled(text.clone(), self.look.style(*style)));
        self.to.set_line(at.x, at.y, &Line::from(spans.collect::<Vec<_>>()), at.width);
    }

    /// A heading, with words behind it.
    fn heading(&mut self, name: &str, mut behind: Vec<(String, Style)>) {
        behind.insert(0, (format!("{name} "), Style::new().add_modifier(Modifier::BOLD)));
        self.line(&behind);
    }
}

fn plain(text: impl Into<String>) -> (String, Style) {
    (text.into(), Style::new())
}

fn coloured(text: impl Into<String>, colour: Color) -> (String, Style) {
    (text.into(), Style::new().fg(colour))
}

/// Draws a view over an area.
pub(super) fn draw(view: &View<'_>, area: Rect, to: &mut Buffer) {
    let (width, height) = SMALLEST;
    if area.width < width || area.height < height {
        to.set_stringn(area.x, area.y, "too small", usize::from(area.width), Style::new());
        return;
    }
    let body = Rect { height: area.height - 1, ..area };
    let mut pen = Pen { left: body, look: view.look, to };
    head(view, &mut pen);
    if view.state.has_event() {
        panes(view, &mut pen);
    }
    let last = Rect { y: area.bottom() - 1, height: 1, ..area };
    let mut pen = Pen { left: last, look: view.look, to };
    pen.line(&[foot(view)]);
}

/// Whom one looks at, and how it is.
fn head(view: &View<'_>, pen: &mut Pen<'_>) {
    let event = view.state.event();
    let (words, colour) = match (&view.state.link, view.is_paused) {
        (Link::Gone(_), _) => ("gone, and asked again".to_owned(), Color::Red),
        (Link::Connecting, _) => ("connecting".to_owned(), Color::Yellow),
        (Link::Live, true) => ("paused".to_owned(), Color::Yellow),
        (Link::Live, false) => {
            let phase = event.text("/server/phase").unwrap_or_else(|| "connected".to_owned());
            let colour = if phase == "ready" { Color::Green } else { Color::Yellow };
            (phase, colour)
        }
    };
    let name = event.text("/server/model").unwrap_or_default();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    pen.line(&[
        coloured("● ", colour),
        (format!("{} ", if name.is_empty() { view.url } else { &name }), bold),
        coloured(words, colour),
        plain(figures::server(event)),
    ]);
    if let Link::Gone(why) = &view.state.link {
        pen.line(&[coloured(&**why, Color::Red)]);
    }
    if view.state.has_event() {
        let failure =
            event.text("/server/failure").map(|failure| coloured(format!("{failure}  "), Color::Red));
        let line = failure.into_iter().chain([plain(figures::engine(event))]);
        pen.line(&line.collect::<Vec<_>>());
        pen.line(&[plain(figures::shares(event))]);
        pen.line(&[plain(figures::memory(event))]);
    }
}

fn panes(view: &View<'_>, pen: &mut Pen<'_>) {
    let (state, look, height) = (view.state, view.look, pen.left.height);
    let legend = KINDS.iter().zip(steps::COLOURS).map(|(kind, colour)| coloured(format!("{kind} "), colour));
    let described = plain(format!("{}  ", steps::described(&state.steps)));
    pen.heading("steps", std::iter::once(described).chain(legend.filter(|_| look.has_colours)).collect());
    let picture = pen.take((height / 5).clamp(2, 8));
    steps::draw(&state.steps, look, picture, pen.to);

    let count = |name: &str| state.event().count(&format!("/kv/{name}"));
    let legend = LEGEND.iter().map(|(name, colour, character)| {
        let mark = if look.has_colours { "■" } else { character };
        coloured(format!("{mark} {} {name}  ", count(name)), *colour)
    });
    let each = state.event().count("/kv/map/blocks_per_cell");
    let each = if each > 1 { format!(", {each} a cell") } else { String::new() };
    let of = plain(format!("{}{each}  ", count("blocks")));
    pen.heading("KV blocks", std::iter::once(of).chain(legend).collect());
    let wanted =
        (state.cells.len() / usize::from(pen.left.width.max(1)) / if look.has_colours { 2 } else { 1 }) + 1;
    let map = pen.take((wanted as u16).min(height / 6).max(1));
    blocks::draw(&state.cells, look, map, pen.to);

    let log_lines = if height >= LOG_FROM { (height / 5).min(state.log.len() as u16 + 1) } else { 0 };
    let room = pen.left.height.saturating_sub(log_lines);
    let rows = pen.take(room);
    table::draw(view, rows, pen.to);
    if log_lines > 1 {
        log(view, log_lines - 1, pen);
    }
}

fn log(view: &View<'_>, lines: u16, pen: &mut Pen<'_>) {
    pen.heading("log", Vec::new());
    let from = view.state.log.len().saturating_sub(usize::from(lines));
    for line in view.state.log.iter().skip(from) {
        let colour = match line.level.as_str() {
            "error" => Color::Red,
            "warn" => Color::Yellow,
            _ => Color::Reset,
        };
        let request = if line.request.is_empty() { String::new() } else { format!("{}  ", line.request) };
        pen.line(&[
            coloured(format!("{:5} ", line.level), colour),
            coloured(request, Color::DarkGray),
            plain(&*line.message),
        ]);
    }
}

/// The last line: a question, what came of the last one, or the keys.
fn foot(view: &View<'_>) -> (String, Style) {
    if let Some(name) = &view.question {
        return coloured(format!("cancel {name}? y: yes, any other key: no"), Color::Yellow);
    }
    if let Some(message) = &view.message {
        return plain(*message);
    }
    coloured("q quit   p pause   ↑↓ choose   c cancel the chosen request", Color::DarkGray)
}
