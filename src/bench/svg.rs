//! Curves as an SVG picture.

use std::fmt::Write as _;

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 150.0;
const MARGIN: f64 = 46.0;
const PANEL: f64 = WIDTH + 2.0 * MARGIN;
/// Charts in a row.
const ACROSS: usize = 5;

/// A curve to draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// The name of the curve.
    pub name: String,
    /// The unit of its values, as it stands behind a number.
    pub unit: &'static str,
    /// The points, from the left to the right.
    pub dots: Vec<Dot>,
    /// The top of the picture; if it is 0, somewhat above the highest point.
    pub top: f64,
    /// Whether the amounts stand in a row as they are: otherwise by powers of ten.
    pub is_linear: bool,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Dot {
    /// The amount: how far to the right it stands.
    pub of: u64,
    /// The amount, for people; nothing, if it shall have no label.
    pub label: String,
    /// The value: how high it stands.
    pub value: f64,
    /// A text that appears where somebody points at it.
    pub title: String,
}

impl Dot {
    /// Makes a point whose text is its amount and its value.
    pub(super) fn of(of: u64, label: String, value: f64) -> Dot {
        let title = format!("{of}: {value}");
        Dot { of, label, value, title }
    }
}

/// Draws a panel for each curve.
pub fn svg(charts: &[Chart]) -> String {
    let (across, down) = (charts.len().min(ACROSS), charts.len().div_ceil(ACROSS));
    let (width, height) = (PANEL * across as f64, (HEIGHT + 2.0 * MARGIN) * down as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, chart) in charts.iter().enumerate() {
        let (left, top) = (PANEL * (at % ACROSS) as f64, (HEIGHT + 2.0 * MARGIN) * (at / ACROSS) as f64);
        // Writing to a string cannot fail.
        let _ = panel(&mut out, (left + MARGIN, top + MARGIN), chart);
    }
    out.push_str("</svg>\n");
    out
}

/// Rounds up to one digit and zeros.
pub(super) fn ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    (value / power).ceil() * power
}

fn panel(out: &mut String, (left, above): (f64, f64), chart: &Chart) -> std::fmt::Result {
    // By powers of ten 0 has the place of 1.
    let place = |of: u64| if chart.is_linear { of as f64 } else { (of.max(1) as f64).log10() };
    let places = || chart.dots.iter().map(|it| place(it.of));
    let (first, last) = (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max));
    let highest = chart.dots.iter().map(|it| it.value).fold(0.0, f64::max);
    let top = if chart.top > 0.0 { chart.top } else { ceiling(highest) };
    let x = |of| left + WIDTH * (place(of) - first) / (last - first).max(1.0);
    let y = |value: f64| above + HEIGHT * (1.0 - value / top);
    writeln!(out, "<g><title>{}</title>", chart.name)?;
    writeln!(out, "<text x=\"{left:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>", above - 14.0, chart.name)?;
    let digits = if top < 4.0 { 2 } else { usize::from(top < 40.0) };
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (at, right) = (y(top * part), left + WIDTH);
        writeln!(out, "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#ddd\"/>")?;
        let (x, y, value, unit) = (left - 6.0, at + 4.0, top * part, chart.unit);
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"#666\">{value:.digits$}{unit}</text>"
        )?;
    }
    let line: Vec<String> = chart.dots.iter().map(|it| format!("{:.1},{:.1}", x(it.of), y(it.value))).collect();
    writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>", line.join(" "))?;
    for it in &chart.dots {
        let (x, y, low) = (x(it.of), y(it.value), above + HEIGHT + 16.0);
        writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#06c\"><title>{}</title></circle>",
            it.title
        )?;
        if !it.label.is_empty() {
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{low:.1}\" text-anchor=\"middle\" fill=\"#666\">{}</text>",
                it.label
            )?;
        }
    }
    writeln!(out, "</g>")
}
