//! Functions that the verbs about campaigns share.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli::{Output, Usage, fault::golden, run::code_cache},
    lab::{
        campaign::{self, Ask, Campaign, Folder, Header, ResultsError},
        experiment::{Base, Build, Experiments, Isolation, Program, Runner, protocol::Hello},
    },
    model::files,
};

/// Reads a campaign file.
pub(super) fn read(path: &Path) -> anyhow::Result<Campaign> {
    let text = files::read_text(path, files::TEXT_BYTES_MAX).map_err(|err| {
        Usage::new(format!("{}: {err}", path.display()), "`vathost fault init BASE` writes a campaign to begin with")
    })?;
    Ok(Campaign::parse(path, &text)
        .map_err(|refused| Usage::new(refused, "`vathost fault grammar` prints places and actions"))?)
}

fn base(campaign: &Campaign) -> Base {
    Base { path: campaign.base.clone(), policy: campaign.policy, code_cache: code_cache() }
}

/// Records the golden run, and holds it against what the file expects.
pub(super) fn prepare(campaign: &Campaign, build: Build, output: &Output) -> anyhow::Result<Experiments> {
    let Campaign { until, limits, patience, .. } = *campaign;
    let mut experiments = golden::record(&base(campaign), build, until, limits, patience, output)?;
    experiments.set_replicas(campaign.replicas);
    experiments.set_audit(u64::from(campaign.audit));
    if let Some(expect) = &campaign.expect {
        let golden = experiments.golden();
        let is_here = expect.crank.is_none_or(|it| it == golden.start.0);
        if !is_here || !expect.state.matches(&golden.before.state_hash.0) {
            let what = format!(
                "`{}` is not the expected base: it is state {} at crank {}",
                campaign.base.display(),
                golden.before.state_hash,
                golden.start.0
            );
            return Err(Usage::new(what, "the campaign's `expect` names the one that it was written for").into());
        }
    }
    Ok(experiments)
}

/// Has the campaign's invariants asked in every experiment.
pub(super) fn dress(campaign: &Campaign, experiments: &mut Experiments) -> anyhow::Result<()> {
    let ask = Ask { exe: std::env::current_exe()?, wall: Duration::from_millis(campaign.limits.wall_ms) };
    campaign::dress(&campaign.invariants, experiments, &ask)
}

/// Makes the runner of a campaign's experiments, in this process or in its children.
pub(super) fn runner(
    campaign: &Campaign,
    build: Build,
    isolation: Isolation,
    output: &Output,
) -> anyhow::Result<Runner> {
    let mut experiments = prepare(campaign, build, output)?;
    let mut hello = Hello::of(experiments.base(), build, campaign.until, campaign.limits);
    (hello.replicas, hello.audit_every) = (campaign.replicas, u64::from(campaign.audit));
    hello.campaign = serde_json::to_value(&campaign.invariants)?;
    if isolation == Isolation::Rollback {
        dress(campaign, &mut experiments)?;
    }
    // The invariants have as long again, and say themselves that they took too long.
    let times = if campaign.invariants.is_empty() { 1 } else { 2 };
    let wall = Duration::from_millis(campaign.limits.wall_ms) * times;
    let program = Program { exe: std::env::current_exe()?, memory: campaign.limits.memory, wall };
    Ok(Runner::new(experiments, isolation, program, hello))
}

/// Returns the default folder of a campaign's results: beside its file.
pub(super) fn folder(path: &Path) -> PathBuf {
    path.with_extension("results")
}

/// Opens the folder of results.
pub(super) fn open(dir: &Path, header: &Header, resume: bool) -> anyhow::Result<(Folder, BTreeSet<String>)> {
    Folder::open(dir, header, resume).map_err(refused)
}

/// Makes the error for results that cannot be used, with a hint what to do.
pub(super) fn refused(err: ResultsError) -> anyhow::Error {
    let hint = match &err {
        ResultsError::Taken(_) => "--resume goes on with them, --fresh begins anew, --out DIR keeps them",
        ResultsError::None(_) => "name the folder of a campaign's results: `vathost fault run` says where it puts them",
        ResultsError::Foreign(_) => "--fresh begins anew, --out DIR keeps them",
        ResultsError::Busy(_) => "wait for it, or give --out another folder",
        ResultsError::Differ(_) => "that is a bug of vathost's: please tell us",
        ResultsError::Line(..) | ResultsError::Io(..) => return err.into(),
    };
    Usage::new(err, hint).into()
}
