//! How pictures look: with colours, or in characters alone.
use ratatui::style::Style;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether it has colours.
    pub(super) has_colours: bool,
}

impl Look {
    /// A style, if there are any.
    pub(super) fn style(self, style: Style) -> Style {
        if self.has_colours { style } else { Style::new() }
    }
}
