//! The cost of a delivery as something grows: vats, objects, queue, history, directives. It should stay the same.

use serde::Serialize;

use crate::{
    bench::{
        Load, Size,
        floors::Around,
        live::Live,
        machine::{Hardware, machine},
        result::median,
        svg::{Chart, Dot, ceiling},
        workload::schedule,
    },
    host::controller::HostOptions,
};

/// The measured growth curves, one for each thing that grows.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    /// The machine and the date.
    pub machine: Hardware,
    /// The curves, one for each thing that grows.
    pub curves: Vec<Curve>,
}

/// The cost of a delivery as one thing grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The name of the thing that grows.
    pub name: &'static str,
    /// The points, from little to much.
    pub points: Vec<Point>,
}

/// The cost of a delivery at one amount of the thing that grows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// The amount of the thing that grows.
    pub of: u64,
    /// Nanoseconds for each delivery.
    pub ns_per_delivery: f64,
    /// The cost as a multiple of a bare delivery with a send.
    pub ratio_to_floor: f64,
}

impl Curve {
    /// Returns the cost of the dearest point as a multiple of the cheapest: 1 is flat.
    pub fn spread(&self) -> f64 {
        let ratios = || self.points.iter().map(|it| it.ratio_to_floor);
        ratios().fold(0.0, f64::max) / ratios().fold(f64::INFINITY, f64::min)
    }
}

impl Growth {
    /// Returns the curves to draw, all on one scale.
    pub fn charts(&self) -> Vec<Chart> {
        let all = self.curves.iter().flat_map(|it| &it.points).map(|it| it.ratio_to_floor);
        let top = ceiling(all.fold(1.0, f64::max));
        let dot = |it: &Point| Dot {
            title: format!("{}: {} ns", it.of, it.ns_per_delivery),
            ..Dot::of(it.of, it.of.to_string(), it.ratio_to_floor)
        };
        let chart = |it: &Curve| Chart {
            name: it.name.to_owned(),
            unit: "×",
            dots: it.points.iter().map(dot).collect(),
            top,
            ..Chart::default()
        };
        self.curves.iter().map(chart).collect()
    }
}

/// Powers of ten.
fn powers(from: u32, to: u32) -> impl Iterator<Item = u64> {
    (from..=to).map(|it| 10_u64.pow(it))
}

/// Measures the growth curves. `told` receives the name of each point before it begins.
pub fn growth(size: Size, told: &mut dyn FnMut(&str)) -> anyhow::Result<Growth> {
    let mut around = Around::new()?;
    let less = if size.quick { 2 } else { 0 };
    let mut curve = |name, ofs: &mut dyn Iterator<Item = u64>, load: fn(u64) -> Load| -> anyhow::Result<Curve> {
        let mut points = Vec::new();
        for of in ofs {
            told(&format!("{name} {of}"));
            points.push(point(of, &mut Live::steady(load(of), HostOptions::default(), size)?, size, &mut around)?);
        }
        Ok(Curve { name, points })
    };
    let mut curves = vec![
        curve("vats", &mut powers(1, 4 - less), Load::fan)?,
        curve("objects", &mut powers(3 - less, 6 - less), |of| Load::pair('o', of))?,
        curve("queue", &mut powers(1, 6 - less), |of| Load::pair('p', of))?,
    ];
    told("history");
    let mut live = Live::steady(Load::pair('p', 10), HostOptions::default(), size)?;
    let (mut points, mut made) = (Vec::new(), 0);
    for of in powers(3 - less, 6 - less) {
        made += live.run(of.saturating_sub(made))?.deliveries;
        points.push(point(of, &mut live, size, &mut around)?);
        made += size.deliveries * size.runs as u64;
    }
    curves.push(Curve { name: "history", points });
    told("directives");
    let mut points = Vec::new();
    for of in [0].into_iter().chain(powers(1, 4 - less)) {
        let mut live = Live::steady(Load::pair('p', 10), HostOptions::default(), size)?;
        schedule(&mut live.controller, of)?;
        points.push(point(of, &mut live, size, &mut around)?);
    }
    curves.push(Curve { name: "directives", points });
    Ok(Growth { machine: machine(), curves })
}

fn point(of: u64, live: &mut Live, size: Size, around: &mut Around) -> anyhow::Result<Point> {
    let (mut each, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..size.runs {
        let (ran, floor) = around.around(|| live.run(size.deliveries))?;
        each.push(ran.each());
        ratios.push(ran.each() / floor);
    }
    let tidy = |values: Vec<f64>| (median(values) * 10.0).round() / 10.0;
    Ok(Point { of, ns_per_delivery: tidy(each), ratio_to_floor: tidy(ratios) })
}
