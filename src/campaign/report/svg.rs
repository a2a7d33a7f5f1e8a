//! The pictures: heat map, blast radius, and the bar of the classes.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::{
    campaign::{
        report::style::family,
        tally::{Heat, Share, severity},
    },
    experiment::Class,
};

/// Columns of the heat map at the most: neighbours share one where there are more places.
const COLUMNS_MAX: u64 = 64;
/// Rows of a picture at the most.
const ROWS_MAX: usize = 80;
/// Pixels of a cell, and of the labels.
const CELL: u64 = 13;
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

/// For each place and action, along the run: the worst that came of it.
pub(super) fn heat(heat: &Heat) -> Markup {
    let numbers = || heat.values().flat_map(|it| it.keys().copied());
    let (first, last) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
    let bin = (last - first + 1).div_ceil(COLUMNS_MAX).max(1);
    let columns = (last - first) / bin + 1;
    let rows: Vec<_> = heat.iter().take(ROWS_MAX).collect();
    let (width, height) = (LABEL + columns * CELL + 4, rows.len() as u64 * CELL + 22);
    html! {
        svg viewBox=(format!("0 0 {width} {height}")) width=(width) role="img" aria-label="heat map: what came of each fault" {
            @for column in (0..columns).filter(|it| it % 8 == 0) {
                text class="axis" x=(LABEL + column * CELL) y="10" { (first + column * bin) }
            }
            @for (row, ((place, action), cells)) in rows.iter().enumerate() {
                text x="0" y=(row as u64 * CELL + 26) { (place) " · " (action) }
                @for (column, (class, count, at)) in binned(cells, first, bin) {
                    rect x=(LABEL + column * CELL) y=(row as u64 * CELL + 16) width=(CELL - 1) height=(CELL - 1) rx="2"
                        class={ "f-" (family(class)) } {
                        title { (place) " " (at) ", " (action) ": " (class) @if count > 1 { " (the worst of " (count) ")" } }
                    }
                }
            }
        }
        @if bin > 1 { p.soft.small { "One column is " (bin) " places; it shows the worst of them." } }
        @if heat.len() > ROWS_MAX { p.soft.small { (heat.len() - ROWS_MAX) " more rows are in the JSON." } }
    }
}

/// The worst class of each column, how many experiments it stands for, and the first place in it.
fn binned(cells: &BTreeMap<u64, (Class, u64)>, from: u64, bin: u64) -> BTreeMap<u64, (Class, u64, u64)> {
    let mut binned: BTreeMap<u64, (Class, u64, u64)> = BTreeMap::new();
    for (at, (class, count)) in cells {
        let cell = binned.entry((at - from) / bin).or_insert((*class, 0, *at));
        cell.1 += count;
        if severity(*class) > severity(cell.0) {
            (cell.0, cell.2) = (*class, *at);
        }
    }
    binned
}

/// Which vats' faults hurt which vats.
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
