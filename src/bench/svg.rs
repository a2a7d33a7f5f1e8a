//! The growth curves as an SVG picture.

use std::fmt::Write as _;

use crate::bench::{Curve, Growth};

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 150.0;
const MARGIN: f64 = 46.0;
const PANEL: f64 = WIDTH + 2.0 * MARGIN;

/// Draws a panel for each curve, in a row: the amount to the right, by powers of ten; the cost of a delivery upwards, as a multiple of
/// a bare delivery with a send.
pub fn svg(growth: &Growth) -> String {
    let all = growth.curves.iter().flat_map(|it| &it.points).map(|it| it.ratio_to_floor);
    let top = ceiling(all.fold(1.0, f64::max));
    let (width, height) = (PANEL * growth.curves.len() as f64, HEIGHT + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, curve) in growth.curves.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = panel(&mut out, PANEL * at as f64 + MARGIN, curve, top);
    }
    out.push_str("</svg>\n");
    out
}

/// Rounds up to one digit and zeros.
fn ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    (value / power).ceil() * power
}

/// Returns the place of an amount on the axis, its power of ten; 0 has the place of 1.
fn place(of: u64) -> f64 {
    (of.max(1) as f64).log10()
}

fn panel(out: &mut String, left: f64, curve: &Curve, top: f64) -> std::fmt::Result {
    let places = || curve.points.iter().map(|it| place(it.of));
    let (first, last) = (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max));
    let x = |of| left + WIDTH * (place(of) - first) / (last - first).max(1.0);
    let y = |ratio: f64| MARGIN + HEIGHT * (1.0 - ratio / top);
    writeln!(out, "<g><title>{}</title>", curve.name)?;
    writeln!(out, "<text x=\"{left:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>", MARGIN - 14.0, curve.name)?;
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (at, right) = (y(top * part), left + WIDTH);
        writeln!(out, "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#ddd\"/>")?;
        let (x, y) = (left - 6.0, at + 4.0);
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"#666\">{:.0}×</text>", top * part)?;
    }
    let line: Vec<String> =
        curve.points.iter().map(|it| format!("{:.1},{:.1}", x(it.of), y(it.ratio_to_floor))).collect();
    writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>", line.join(" "))?;
    for it in &curve.points {
        let (x, y, low) = (x(it.of), y(it.ratio_to_floor), MARGIN + HEIGHT + 16.0);
        writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#06c\"><title>{}: {} ns</title></circle>",
            it.of, it.ns_per_delivery
        )?;
        writeln!(out, "<text x=\"{x:.1}\" y=\"{low:.1}\" text-anchor=\"middle\" fill=\"#666\">{}</text>", it.of)?;
    }
    writeln!(out, "</g>")
}
