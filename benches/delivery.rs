//! `cargo bench`: every workload, beside the floors of bare wasmtime in the same run. (`vathost bench` has options.)
#![allow(clippy::print_stdout, reason = "a benchmark is there to say what it found")]

use vathost::bench::{WORKLOADS, floors, run};

fn main() -> anyhow::Result<()> {
    let floors = floors()?;
    println!("bare call {} ns, bare send {} ns", floors.call.ns_per_delivery, floors.send.ns_per_delivery);
    for workload in WORKLOADS {
        let it = run(*workload, 50_000, 10_000, &floors)?;
        println!(
            "{}: {} ns a delivery, {:.1} × bare send, p50 {} ns, p99 {} ns",
            it.name, it.ns_per_delivery, it.ratio_to_floor, it.p50_ns, it.p99_ns
        );
    }
    Ok(())
}
