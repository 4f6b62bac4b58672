//! A panel of an SVG: a frame with ticks, and curves in it.
use std::fmt::Write;

/// Where a panel lies in its picture, in pixels, and what its edges mean.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// The left edge of the frame.
    pub left: f64,
    /// The upper edge of the frame.
    pub top: f64,
    /// The width of the frame.
    pub width: f64,
    /// The height of the frame.
    pub height: f64,
    /// What the left and the right edge stand for.
    pub x: (f64, f64),
    /// What the upper edge stands for; the lower one is 0.
    pub y_max: f64,
}

impl Panel {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let x = self.left + across.clamp(0.0, 1.0) * self.width;
        (x, self.top + self.height * (1.0 - (y / self.y_max).clamp(0.0, 1.0)))
    }

    /// Draws a curve through points, in the units of the edges; what lies outside is moved to the
    /// edge.
    pub fn curve(&self, svg: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
        let mut line = String::new();
        for (x, y) in points {
            let (x, y) = self.place(x, y);
            let _ = write!(line, "{x:.1},{y:.1} ");
        }
        let _ =
            writeln!(svg, r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>"#);
    }

    /// Draws the frame: a title, ticks below at the given places, and five at the left with what
    /// `y_label` makes of them.
    pub fn frame(
        &self,
        svg: &mut String,
        title: &str,
        ticks: &[(f64, String)],
        y_label: &dyn Fn(f64) -> String,
    ) {
        text(svg, (self.left, self.top - 12.0), "start", title);
        for (x, label) in ticks {
            let (x, bottom) = self.place(*x, 0.0);
            line(svg, (x, self.top), (x, bottom));
            text(svg, (x, bottom + 16.0), "middle", label);
        }
        for part in 0..=4 {
            let y = self.y_max * f64::from(part) / 4.0;
            let (_, at) = self.place(self.x.0, y);
            line(svg, (self.left, at), (self.left + self.width, at));
            text(svg, (self.left - 6.0, at + 4.0), "end", &y_label(y));
        }
    }
}

/// Begins a picture of this size.
pub fn begin((width, height): (f64, f64)) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
"##
    )
}

/// Writes a coloured square and what the colour stands for, its lower left corner at a place.
pub fn key(svg: &mut String, (x, y): (f64, f64), colour: &str, label: &str) {
    let _ = writeln!(svg, r#"<rect x="{x:.1}" y="{:.1}" width="10" height="10" fill="{colour}"/>"#, y - 9.0);
    text(svg, (x + 16.0, y), "start", label);
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#ddd"/>"##,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}
