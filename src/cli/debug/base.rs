//! `debug --base`: begins with an older state, and runs forward from it through what the state has committed since.

use std::path::Path;

use crate::{
    cli::{Output, Usage, debug::into_error, state},
    debug::{Base, Refusal, Replica, ReplicaSettings},
    inspect::archive,
    model::id::CrankNum,
    slog::Slog,
    state::table::Tables,
    store::{Database, Meta},
};

/// Makes the base of an older state: of a folder, or of an archive.
pub(super) fn of(path: &Path) -> anyhow::Result<Base> {
    if !path.is_file() {
        state::must_exist(path)?;
        return Ok(Base::over(path)?);
    }
    Base::made(|file| -> anyhow::Result<()> {
        let mut database = Database::draft(file, &Tables::layout())?;
        archive::read(path, &mut database, &mut |_, _| ())?;
        Ok(())
    })
}

/// Checks that a run from the older state repeats the history of the state, by its hash. Only then is a place in that run the place
/// that was meant.
pub(super) fn check(
    older: &Base,
    path: &Path,
    how: &ReplicaSettings,
    (next, meta): (CrankNum, &Meta),
    output: &Output,
) -> anyhow::Result<()> {
    let name = path.display();
    let stopped = |it: Box<crate::kernel::Halt>| into_error(Refusal::from(it));
    let mut machine = Replica::open(older.again()?, how.clone(), Slog::default(), None).map_err(stopped)?;
    let first = machine.base();
    if first > next {
        let what = format!("`{name}` is no older state: it is committed up to {first}, and the state up to {next}");
        return Err(Usage::new(what, "name an archive or a folder of before").into());
    }
    machine.stand_before(next).map_err(stopped)?;
    let (here, hash) = (machine.next_crank().map_err(stopped)?, machine.state_hash().map_err(stopped)?);
    if here != next || hash != meta.state_hash.to_string() {
        let what = format!(
            "what runs on from `{name}` is another history: at {here} it does not have the hash that the state has at {next}"
        );
        let hint = "messages from outside since then are not in it; directives and the way in which blocks are cut must be those of then: \
                    --directives, --cranks-per-block, --fuel-per-block, --block-time";
        return Err(Usage::new(what, hint).into());
    }
    output.note(format!("run on from `{name}`, at {first}: it comes to the state at {next}, to the hash"));
    Ok(())
}
