//! Small plots for a terminal.
#![allow(clippy::cast_possible_truncation, reason = "positions in a line of a few dozen characters")]

const WIDTH: f64 = 48.0;

/// Draws a bar for each value, on a logarithmic scale from 1 to the next power of ten above the largest.
pub(super) fn bars(bars: &[(&str, f64)]) -> String {
    let decades = bars.iter().map(|it| it.1.max(1.0).log10()).fold(0.0, f64::max).ceil().max(1.0);
    let name = bars.iter().map(|it| it.0.chars().count()).max().unwrap_or(0);
    let lines = bars.iter().map(|(it, value)| {
        let bar = bar(value.max(1.0).log10() / decades * WIDTH);
        format!("{it:name$}  {bar} {value:.1}")
    });
    let mut scale = String::new();
    for decade in 0..=decades as usize {
        let at = (WIDTH * decade as f64 / decades).round() as usize;
        scale.extend(std::iter::repeat_n(' ', at.saturating_sub(scale.chars().count())));
        scale.push('╵');
    }
    lines.chain([format!("{:name$}  {scale}", "")]).collect::<Vec<_>>().join("\n")
}

/// Draws a bar of so many characters, to an eighth of one.
fn bar(length: f64) -> String {
    let eighths = (length * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    bar
}

/// Draws a line of small bars, of which the tallest is the largest value.
pub(super) fn spark(values: &[f64]) -> String {
    let top = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let steps = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values.iter().filter_map(|it| steps.get(((it / top * 8.0).ceil() as usize).clamp(1, 8) - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_the_logarithm() {
        let drawn = bars(&[("a", 1.0), ("long", 10.0), ("b", 100.0)]);
        let full = drawn.lines().map(|it| it.matches('█').count()).collect::<Vec<_>>();
        assert_eq!(full, [0, 24, 48, 0]);
        assert_eq!(bar(1.5), "█▌");
    }

    #[test]
    fn a_spark_line_is_flat_where_the_values_are() {
        assert_eq!(spark(&[2.0, 2.0]), "██");
        assert_eq!(spark(&[1.0, 4.0, 8.0]), "▁▄█");
    }
}
