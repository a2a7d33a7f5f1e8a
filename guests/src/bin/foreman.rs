//! The bootstrap vat of `vats/foreman`: hires many counters through the vat admin, uses each, upgrades half of them, pauses
//! some, and fires all but a few.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::Bootstrap;
use vat::admin::{Created, VatAdmin};
use vat::prelude::*;

struct Foreman {
    /// How many to hire.
    vats: u32,
    /// How many of them to keep.
    keep: u32,
}

/// Hires and fires counters.
#[vat::exo]
impl Foreman {
    /// Answers with a record of what came of it all.
    pub async fn bootstrap(&self, powers: Bootstrap) -> Result<Value, Error> {
        let admin: VatAdmin = powers.vat_admin.ok_or("there is no vat admin")?.into();
        let mut crew = Vec::new();
        for _ in 0..self.vats {
            crew.push(admin.create_vat("counter", (), Value::record([("name", "worker".into())])).await?);
        }
        let mut report = Report::default();
        for worker in &crew {
            report.counted += i64::from(1 == count(worker).await?);
        }
        for worker in crew.iter().step_by(2) {
            let done = worker.admin.upgrade("counter", ()).to::<Value>().await?;
            report.upgraded += done.get::<i64>("incarnationNumber")?;
        }
        for worker in crew.iter().step_by(10) {
            report.resumed += i64::from(rest(worker).await?);
        }
        for worker in &crew {
            // The upgraded lost the count that they held in memory, and kept the total.
            report.counts += count(worker).await?;
            report.totals += worker.root.send("total", ()).to::<i64>().await?;
        }
        let keep = usize::try_from(self.keep).unwrap_or(usize::MAX);
        for worker in crew.iter().skip(keep) {
            let done = worker.admin.done();
            worker.admin.terminate("redundant").await?;
            report.fired += i64::from(done.await.is_err_and(|why| why.message() == "redundant"));
            report.splats += i64::from(count(worker).await.is_err());
        }
        for worker in crew.iter().take(keep) {
            report.kept += i64::from(count(worker).await.is_ok());
        }
        Ok(report.into())
    }
}

async fn count(worker: &Created) -> Result<i64, Error> {
    worker.root.send("increment", (1,)).to().await
}

/// Whether what is sent to a paused vat is answered, in its order, once it is resumed.
async fn rest(worker: &Created) -> Result<bool, Error> {
    let before: i64 = worker.root.send("count", ()).to().await?;
    worker.admin.pause("lunch").await?;
    let (first, second) = (worker.root.send("increment", (1,)), worker.root.send("increment", (-1,)));
    worker.admin.resume().await?;
    let answers = (first.to::<i64>().await?, second.to::<i64>().await?);
    worker.root.send("increment", (0,)).await?;
    Ok(answers == (before + 1, before))
}

#[derive(Default)]
struct Report {
    counted: i64,
    upgraded: i64,
    resumed: i64,
    counts: i64,
    totals: i64,
    fired: i64,
    splats: i64,
    kept: i64,
}

impl From<Report> for Value {
    fn from(report: Report) -> Value {
        Value::record([
            ("counted", report.counted.into()),
            ("upgraded", report.upgraded.into()),
            ("resumed", report.resumed.into()),
            ("counts", report.counts.into()),
            ("totals", report.totals.into()),
            ("fired", report.fired.into()),
            ("splats", report.splats.into()),
            ("kept", report.kept.into()),
        ])
    }
}

#[vat::root]
fn build(parameters: Value) -> Result<Foreman, Error> {
    Ok(Foreman { vats: parameters.get("vats")?, keep: parameters.get("keep")? })
}
