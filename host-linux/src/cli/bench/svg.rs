//! A benchmark's outcome as a picture: a bar for each figure, as long as its share of the limit.
use super::result::Outcome;
use crate::text::figures::{rate, tokens};
use std::fmt::Write;

const WIDTH: usize = 760;
/// Where bars begin, and how long one is that reaches its limit.
const BAR_AT: usize = 120;
const BAR: f64 = 360.0;
const ROW: usize = 30;
const TOP: usize = 74;

/// A file of SVG, in light or dark as whoever looks prefers.
pub(super) fn picture(outcome: &Outcome) -> String {
    let rows: Vec<_> = outcome.rows().collect();
    let height = TOP + ROW * rows.len() + 30;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n\
         <style>text{{fill:#222}}.paper{{fill:#fff}}.limit{{fill:#ddd}}.reached{{fill:#2a7}}\
         @media(prefers-color-scheme:dark){{text{{fill:#ddd}}.paper{{fill:#181818}}.limit{{fill:#444}}}}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text x=\"12\" y=\"26\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"12\" y=\"48\">{machine}</text>\n",
        title = escaped(&format!("{} as {}", outcome.model, outcome.format)),
        machine = escaped(&format!(
            "{}, {}, {} workers; reads {}",
            outcome.cpu,
            outcome.isa,
            outcome.workers,
            rate(outcome.machine.read, "B")
        )),
    );
    for (i, row) in rows.iter().enumerate() {
        let (y, length) = (TOP + i * ROW, (BAR * row.share()).clamp(0.0, BAR));
        let _ = write!(
            svg,
            "<text x=\"12\" y=\"{text_y}\">{label}</text>\n\
             <rect class=\"limit\" x=\"{BAR_AT}\" y=\"{y}\" width=\"{BAR}\" height=\"18\"/>\n\
             <rect class=\"reached\" x=\"{BAR_AT}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\"/>\n\
             <text x=\"{told_at}\" y=\"{text_y}\">{told}</text>\n",
            text_y = y + 14,
            label = escaped(&row.label),
            told_at = BAR_AT + BAR as usize + 12,
            told = escaped(&format!(
                "{}, {:.0}% ({})",
                tokens(row.rate),
                100.0 * row.share(),
                row.bound().name()
            )),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Text that is no markup, whatever it holds.
fn escaped(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control()).collect();
    visible.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::result::example;
    use super::*;

    #[test]
    fn a_picture_has_a_bar_for_each_figure_and_no_foreign_markup() {
        let svg = picture(&example());
        assert_eq!(svg.matches("class=\"reached\"").count(), 3);
        assert!(svg.contains("width=\"288.0\""), "80% of the bar: {svg}");
        assert!(svg.contains("a&lt;b&gt;&amp;c as bf16") && !svg.contains("a<b>"), "{svg}");
        assert_eq!((svg.matches('<').count(), svg.matches("</svg>").count()), (svg.matches('>').count(), 1));
    }
}
