//! The pictures: heat map, blast radius, and the bar of the classes.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::lab::{
    campaign::{
        report::style::family,
        tally::{Heat, Share, severity},
    },
    experiment::Class,
};

/// Columns of the heat map at most: neighbours share one where there are more places.
const COLUMNS_MAX: u64 = 64;
/// Rows of a picture at most.
const ROWS_MAX: usize = 80;
/// Pixels of a cell, and of the labels.
const CELL: u64 = 14;
const LABEL: u64 = 190;

/// The classes as one bar.
pub(super) fn bar(shares: &[Share], run: u64) -> Markup {
    let mut at = 0.0;
    let mut pieces = Vec::new();
    let mut sorted: Vec<&Share> = shares.iter().collect();
    sorted.sort_by_key(|it| severity(it.class));
    for share in sorted {
        let width = share.count as f64 / run.max(1) as f64 * 960.0;
        pieces.push((at, width, share));
        at += width;
    }
    html! {
        svg viewBox="0 0 960 22" role="img" aria-label="shares of the classes" {
            @for (at, width, share) in pieces {
                rect x=(format!("{at:.2}")) y="0" width=(format!("{width:.2}")) height="22" class={ "f-" (family(share.class)) } {
                    title { (share.class) ": " (share.count) }
                }
            }
        }
    }
}

/// For each place and action, along the run: what came of the experiments that had a fault there, each class by its share, the
/// worst at the bottom. The fewer experiments a cell stands for, the paler it is.
pub(super) fn heat(heat: &Heat) -> Markup {
    let numbers = || heat.values().flat_map(|it| it.keys().copied());
    let (first, last) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
    let bin = (last - first + 1).div_ceil(COLUMNS_MAX).max(1);
    let columns = (last - first) / bin + 1;
    let rows: Vec<_> = heat.iter().take(ROWS_MAX).collect();
    let count = |classes: &BTreeMap<Class, u64>| classes.values().sum::<u64>();
    let rows_binned: Vec<_> = rows.iter().map(|(_, cells)| binned(cells, first, bin)).collect();
    let max = rows_binned.iter().flat_map(|it| it.values()).map(|(_, it)| count(it)).max().unwrap_or(1);
    let (width, height) = (LABEL + columns * CELL + 4, rows.len() as u64 * CELL + 22);
    html! {
        svg viewBox=(format!("0 0 {width} {height}")) width=(width) role="img" aria-label="heat map: what came of each fault" {
            @for column in (0..columns).filter(|it| it % 8 == 0) {
                text class="axis" x=(LABEL + column * CELL) y="10" { (first + column * bin) }
            }
            @for (row, (((place, action), _), cells)) in rows.iter().zip(&rows_binned).enumerate() {
                text x="0" y=(row as u64 * CELL + 27) { (place) " · " (action) }
                @for (column, (at, classes)) in cells {
                    g fill-opacity=(opacity(count(classes), max)) {
                        title { (place) " " (at) ", " (action) @for (class, count) in classes { ", " (class) " " (count) } }
                        @for (class, from, to) in stacked(classes) {
                            rect x=(LABEL + column * CELL) y=(format!("{:.1}", (row as u64 * CELL + 16) as f64 + from))
                                width=(CELL - 1) height=(format!("{:.1}", to - from)) class={ "f-" (family(class)) } {}
                        }
                    }
                }
            }
        }
        p.soft.small {
            "Each cell is filled by the shares of what came of the experiments with a fault there, the worst at the bottom"
            @if max > 1 { "; the palest stand for one, the fullest for " (max) }
            "."
            @if bin > 1 { " One column is " (bin) " places." }
        }
        @if heat.len() > ROWS_MAX { p.soft.small { (heat.len() - ROWS_MAX) " more rows are in the JSON." } }
    }
}

/// Fuller for more, on a scale of orders of magnitude: what there is one of must still be seen.
fn opacity(count: u64, max: u64) -> String {
    let share = (count.max(1) as f64).ln() / (max.max(2) as f64).ln();
    format!("{:.2}", if max <= 1 { 1.0 } else { 0.3 + 0.7 * share })
}

/// Each class from where to where in its cell.
fn stacked(classes: &BTreeMap<Class, u64>) -> Vec<(Class, f64, f64)> {
    let all = classes.values().sum::<u64>().max(1) as f64;
    let mut sorted: Vec<(Class, u64)> = classes.iter().map(|(class, count)| (*class, *count)).collect();
    sorted.sort_by_key(|(class, _)| severity(*class));
    let mut below = 0;
    let stack = |(class, count): (Class, u64)| {
        let edge = |count: u64| count as f64 / all * (CELL - 1) as f64;
        let from = below;
        below += count;
        (class, edge(from), edge(below))
    };
    sorted.into_iter().map(stack).collect()
}

type Column = (u64, BTreeMap<Class, u64>);

/// The classes of each column, and the first place in it.
fn binned(cells: &BTreeMap<u64, BTreeMap<Class, u64>>, from: u64, bin: u64) -> BTreeMap<u64, Column> {
    let mut binned: BTreeMap<u64, Column> = BTreeMap::new();
    for (at, classes) in cells {
        let (_, column) = binned.entry((at - from) / bin).or_insert_with(|| (*at, BTreeMap::new()));
        for (class, count) in classes {
            *column.entry(*class).or_default() += count;
        }
    }
    binned
}

/// Draws the matrix of the vats whose faults hurt other vats.
pub(super) fn blast(blast: &BTreeMap<(String, String), u64>) -> Markup {
    const WIDE: u64 = 46;
    let from: BTreeSet<&str> = blast.keys().map(|(from, _)| from.as_str()).take(ROWS_MAX).collect();
    let to: BTreeSet<&str> = blast.keys().map(|(_, to)| to.as_str()).take(ROWS_MAX).collect();
    let max = blast.values().copied().max().unwrap_or(1).max(1);
    let (width, height) = (LABEL + to.len() as u64 * WIDE + 110, from.len() as u64 * 24 + 84);
    let opacity = |count: u64| format!("{:.2}", 0.18 + 0.82 * (count as f64 / max as f64));
    html! {
        svg viewBox=(format!("0 0 {width} {height}")) width=(width) role="img" aria-label="blast radius: which vat's faults hurt which" {
            @for (column, to) in to.iter().enumerate() {
                @let x = LABEL + column as u64 * WIDE + 18;
                text x=(x) y="70" transform=(format!("rotate(-38 {x} 70)")) { (to) }
            }
            @for (row, from) in from.iter().enumerate() {
                @let y = row as u64 * 24 + 80;
                text x="0" y=(y + 15) { (from) }
                @for (column, to) in to.iter().enumerate() {
                    @let x = LABEL + column as u64 * WIDE;
                    @match blast.get(&((*from).to_owned(), (*to).to_owned())) {
                        Some(count) => {
                            rect x=(x) y=(y) width=(WIDE - 2) height="22" rx="3" class="f-bad" fill-opacity=(opacity(*count)) {
                                title { "faults in " (from) " hurt " (to) ": " (count) }
                            }
                            text x=(x + 16) y=(y + 15) { (count) }
                        }
                        None => { rect x=(x) y=(y) width=(WIDE - 2) height="22" rx="3" class="f-none" {} }
                    }
                }
            }
        }
    }
}
