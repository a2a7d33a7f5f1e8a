//! Opening and checking the paths that a verb was given: a state's folder, or an archive of a state.

use std::path::Path;

use crate::{
    cli::{Output, Usage, progress::Progress},
    inspect::archive,
    slog::Slog,
    state::{block::Block, table::Tables},
    store::{Aside, Database},
};

/// Opens the state in this folder, to read it.
pub(crate) fn folder(dir: &Path) -> anyhow::Result<Database> {
    must_exist(dir)?;
    Ok(Database::open_read_only(dir)?)
}

/// Opens the state in this folder as a block, with its rows.
pub(crate) fn block(dir: &Path) -> anyhow::Result<Block> {
    Ok(Block::over(folder(dir)?, Slog::default())?)
}

/// Opens the state in this folder, or in this archive.
pub(crate) fn folder_or_archive(path: &Path, output: &Output) -> anyhow::Result<Database> {
    if !path.is_file() {
        return folder(path);
    }
    let mut database = Database::memory(&Tables::layout())?;
    let progress = Progress::new(output, "reading", "bytes");
    let result = archive::read(path, &mut database, &mut |done, total| progress.set(done, total));
    progress.finish();
    result?;
    Ok(database)
}

/// Refuses a folder without a state.
pub(crate) fn must_exist(dir: &Path) -> anyhow::Result<()> {
    if Database::exists(dir) {
        return Ok(());
    }
    let what = format!("there is no state in `{}`", dir.display());
    Err(Usage::new(what, "name the folder that was given to `vathost run --state`").into())
}

/// Refuses a folder in which a new state would replace something.
pub(crate) fn must_be_free(dir: &Path) -> anyhow::Result<()> {
    if Aside::is_taken(dir) {
        let what = format!("`{}` exists, and something is in it", dir.display());
        return Err(Usage::new(what, "name a new folder: nothing is overwritten").into());
    }
    Ok(())
}

/// Refuses a path that is no file.
pub(crate) fn must_be_a_file(path: &Path) -> anyhow::Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let what = format!("there is no file `{}`", path.display());
    Err(Usage::new(what, "`vathost export DIR FILE` makes one").into())
}
