//! Campaigns, for the verbs about them: reading the file, making runners, opening results.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli::{
        Output, Usage,
        fault::{self, HowArgs, golden},
        run::code_cache,
    },
    lab::{
        campaign::{self, Ask, Campaign, Earlier, Folder, Header, ResultsError},
        experiment::{Base, Build, Experiments, Isolation, Program, Runner, Token, protocol::Hello},
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

/// Records the golden run, and checks that its base is the one that the file expects.
pub(super) fn prepare(campaign: &Campaign, build: Build, output: &Output) -> anyhow::Result<Experiments> {
    let Campaign { until, limits, patience, .. } = *campaign;
    let mut experiments = golden::record(&base(campaign), build, until, limits, patience, output)?;
    experiments.set_replicas(campaign.replicas);
    experiments.set_audit(u64::from(campaign.audit));
    experiments.set_campaign(Some(campaign.named()));
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
    hello.named = Some(campaign.named());
    hello.campaign = serde_json::to_value(&campaign.invariants)?;
    if isolation == Isolation::Rollback {
        dress(campaign, &mut experiments)?;
    }
    // The invariants get as much time again, and report by themselves if they take too long.
    let times = if campaign.invariants.is_empty() { 1 } else { 2 };
    let wall = Duration::from_millis(campaign.limits.wall_ms) * times;
    let program = Program { exe: std::env::current_exe()?, memory: campaign.limits.memory, wall };
    Ok(Runner::new(experiments, isolation, program, hello))
}

/// Reads the campaign that an experiment belongs to: the file that was named now, or else the one that its token names.
fn campaign_of(token: &Token, file: Option<&Path>, output: &Output) -> anyhow::Result<Option<Campaign>> {
    let (path, named) = match (file, &token.campaign) {
        (None, None) => return Ok(None),
        (Some(path), named) => (path.to_owned(), named),
        (None, Some(named)) => (PathBuf::from(&named.file), &token.campaign),
    };
    if file.is_none() && !path.exists() {
        let what = format!("there is no file `{}`, the campaign of this experiment", path.display());
        return Err(Usage::new(what, "name it with --campaign FILE").into());
    }
    let campaign = read(&path)?;
    if named.as_ref().is_some_and(|it| it.question != campaign.named().question) {
        let what = format!("`{}` asks for other limits or invariants than this experiment had", path.display());
        if file.is_none() {
            return Err(Usage::new(what, "give it with --campaign FILE to have the verdict of what it asks now").into());
        }
        output.note(format!("warning: {what}: the verdict may be another"));
    }
    Ok(Some(campaign))
}

/// Makes the runner that runs the experiment of a token as it was run: on its base, and under its campaign if it has one.
pub(super) fn runner_of(
    token: &Token,
    base: Option<&Path>,
    file: Option<&Path>,
    how: &HowArgs,
    output: &Output,
) -> anyhow::Result<Runner> {
    let build = Build::current()?;
    let (runner, path) = match campaign_of(token, file, output)? {
        None => {
            let path = base.unwrap_or(Path::new(&token.path));
            (fault::runner(path, how, output)?, path.to_owned())
        }
        Some(mut campaign) => {
            campaign.base = base.map_or(campaign.base, Path::to_owned);
            let isolation = how.isolation.parse().map_err(anyhow::Error::msg)?;
            (runner(&campaign, build, isolation, output)?, campaign.base)
        }
    };
    if !token.is_of(runner.experiments().golden().base) {
        let what = format!("`{}` is not the base of this experiment, or its blocks are not the same", path.display());
        let hint = "name it with --base, and give --campaign, or --cranks-per-block as it was given then";
        return Err(Usage::new(what, hint).into());
    }
    if !token.is_by(build) {
        output.note("warning: another build of vathost made this token: the outcome may be another");
    }
    Ok(runner)
}

/// Returns the default folder of a campaign's results: beside its file.
pub(super) fn folder(path: &Path) -> PathBuf {
    path.with_extension("results")
}

/// Opens the folder of results.
pub(super) fn open(dir: &Path, header: &Header, resume: bool) -> anyhow::Result<(Folder, Earlier)> {
    Folder::open(dir, header, resume).map_err(refused)
}

/// Returns whether an error of the disk is due to a wrong path.
fn is_mistake(err: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(err.kind(), AlreadyExists | IsADirectory | NotADirectory | NotFound | PermissionDenied)
}

/// Makes the error for results that cannot be used, with a hint what to do.
pub(super) fn refused(err: ResultsError) -> anyhow::Error {
    let hint = match &err {
        ResultsError::Taken(_) => "--resume goes on with them, --fresh begins anew, --out DIR keeps them",
        ResultsError::None(_) => "name the folder of a campaign's results: `vathost fault run` says where it puts them",
        ResultsError::Mixed(..) => "report each of them alone; --compare DIR shows how one differs from the other",
        ResultsError::Foreign(_) => "--fresh begins anew, --out DIR keeps them",
        ResultsError::Busy(_) => "wait for it, or give --out another folder",
        ResultsError::Differ(_) => "that is a bug of vathost's: please tell us",
        ResultsError::Line(..) => "the file was changed by hand, or is of another version: --fresh begins anew",
        ResultsError::Io(_, io) if is_mistake(io) => "name a folder that is there, or can be made",
        ResultsError::Io(..) => return err.into(),
    };
    Usage::new(err, hint).into()
}
