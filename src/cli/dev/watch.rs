//! The sources of a vat, and when they change. The system's notices say when to look. Only the contents of the files count: a file that is
//! touched has not changed; one that an editor replaces with other contents has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::{
    cli::{Output, dev::stop::Stop},
    model::files,
};

/// The interval at which ^C is checked for, and also the files if the system gives no notices.
const LOOK: Duration = Duration::from_millis(100);

/// How long nothing must happen before a change counts as over.
const QUIET: Duration = Duration::from_millis(60);

/// The sources as they were built.
pub(super) struct SourceWatch {
    roots: Vec<PathBuf>,
    /// The folder of the state, which is no source.
    state: Option<PathBuf>,
    /// The files of the mailbox, which are no sources.
    left_out: BTreeSet<PathBuf>,
    modules_are_made: bool,
    /// The source of the system's notices; `None` if it gives none.
    watcher: Option<RecommendedWatcher>,
    notices: Receiver<notify::Result<notify::Event>>,
    watched: BTreeSet<PathBuf>,
    /// The files as they were when the last build began, by their hashes.
    built: BTreeMap<PathBuf, Option<blake3::Hash>>,
    /// Whether there were notices since the files were last looked at.
    stirred: bool,
}

/// The folders and files of the sources.
#[derive(Default)]
struct Sources {
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl SourceWatch {
    /// Begins to watch a vat's folder and what was named besides.
    pub(super) fn new(
        dir: &Path,
        besides: &[PathBuf],
        state: Option<&Path>,
        modules_are_made: bool,
        output: &Output,
    ) -> SourceWatch {
        let (send, notices) = channel();
        let watcher = notify::recommended_watcher(send);
        if let Err(err) = &watcher {
            output.warn(format!(
                "the system gives no notice of changes ({err}): the files are looked at again and again"
            ));
        }
        let roots = [dir.to_owned()].into_iter().chain(besides.iter().cloned()).collect();
        let state = state.and_then(|it| std::path::absolute(it).ok());
        SourceWatch {
            roots,
            state,
            left_out: BTreeSet::new(),
            modules_are_made,
            watcher: watcher.ok(),
            notices,
            watched: BTreeSet::new(),
            built: BTreeMap::new(),
            stirred: false,
        }
    }

    /// Leaves out files that the run itself writes or reads.
    pub(super) fn leave_out<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        self.left_out = paths.filter_map(|it| std::path::absolute(it).ok()).collect();
        let left_out = &self.left_out;
        self.built.retain(|it, _| !std::path::absolute(it).is_ok_and(|it| left_out.contains(&it)));
    }

    /// Notes the sources as they are now, for a build that begins now.
    pub(super) fn note(&mut self) {
        self.stirred = false;
        while self.notices.try_recv().is_ok() {}
        self.built = self.look();
    }

    /// Returns whether a source has changed since it was noted, without waiting.
    pub(super) fn has_changed(&mut self) -> bool {
        while self.notices.try_recv().is_ok() {
            self.stirred = true;
        }
        std::mem::take(&mut self.stirred) && self.look() != self.built
    }

    /// Waits until a source has changed since it was noted, or until ^C.
    pub(super) fn wait(&mut self, stop: &Stop) {
        // There may have been changes during the build and the run.
        self.stirred = true;
        while !stop.is_asked() && !self.has_changed() {
            match self.notices.recv_timeout(LOOK) {
                Ok(_) => {
                    // An editor writes more than one file, or one in several steps.
                    while self.notices.recv_timeout(QUIET).is_ok() {}
                    self.stirred = true;
                }
                Err(RecvTimeoutError::Timeout) => self.stirred = self.watcher.is_none(),
                Err(RecvTimeoutError::Disconnected) => (self.watcher, self.stirred) = (None, true),
            }
        }
    }

    /// The hashes of all sources. Folders that are new are watched from here on.
    fn look(&mut self) -> BTreeMap<PathBuf, Option<blake3::Hash>> {
        let mut sources = Sources::default();
        for root in &self.roots {
            self.gather(root, &mut sources);
        }
        for file in self.roots.iter().filter(|it| !it.is_dir()) {
            // The replacement of a file is noticed in its folder.
            let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
            sources.folders.insert(folder.unwrap_or(Path::new(".")).to_owned());
        }
        self.watched.retain(|it| sources.folders.contains(it));
        for folder in sources.folders {
            let Some(watcher) = self.watcher.as_mut().filter(|_| !self.watched.contains(&folder)) else { continue };
            if watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(folder);
            } else if folder.is_dir() {
                // The system has no more notices to give.
                self.watcher = None;
            }
        }
        let hash = |path: &Path| files::read(path, files::MODULE_BYTES_MAX).ok().map(|it| blake3::hash(&it));
        sources.files.into_iter().map(|path| (path.clone(), hash(&path))).collect()
    }

    fn gather(&self, path: &Path, sources: &mut Sources) {
        if !path.is_dir() {
            sources.files.insert(path.to_owned());
            return;
        }
        if !sources.folders.insert(path.to_owned()) {
            return;
        }
        let Ok(entries) = fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            // A link to a folder may lead back here.
            let is_link = entry.file_type().is_ok_and(|it| it.is_symlink());
            if self.is_source(&path) && !(is_link && path.is_dir()) {
                self.gather(&path, sources);
            }
        }
    }

    /// Returns whether something in a folder of sources is a source: nothing hidden, and nothing that a build makes.
    fn is_source(&self, path: &Path) -> bool {
        let name = path.file_name().map(|it| it.to_string_lossy()).unwrap_or_default();
        let is_hidden = name.starts_with('.') && name != ".cargo";
        let is_made = name == "target" || name == "Cargo.lock" || name.ends_with('~');
        let is_module = self.modules_are_made && path.extension().is_some_and(|it| it == "wasm");
        let full = std::path::absolute(path).ok();
        let is_state = full.is_some_and(|it| Some(&it) == self.state.as_ref() || self.left_out.contains(&it));
        !is_hidden && !is_made && !is_module && !is_state
    }
}
