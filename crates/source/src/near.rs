//! Which files events are about, where they are about nothing else: then nobody has to walk the folder, and what a change
//! costs does not grow with the number of files.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::walk::{self, Signature};

/// What events told since the last look.
#[derive(Clone, Default, Debug)]
pub(crate) struct Told {
    /// Complete paths: closed after writing, or the new name of something renamed.
    pub(crate) finished: Vec<PathBuf>,
    /// Deleted paths. What was renamed away is not among them: editors do that with the old version, and write the
    /// new one in their own time.
    pub(crate) deleted: Vec<PathBuf>,
    /// Created and maybe still being written, or renamed away.
    pub(crate) touched: Vec<PathBuf>,
    /// Something happened of which no path tells.
    pub(crate) elsewhere: bool,
}

/// The folders that a walk entered, by their absolute paths, which events have, as the walk called them.
pub(crate) type Folders = BTreeMap<PathBuf, PathBuf>;

/// What a look has to look at, as in [`walk::Listing::files`].
pub(crate) type Files = BTreeMap<Arc<str>, (PathBuf, Signature)>;

/// The files that events tell of; `None`: of something else too, or of nothing, so that only a walk will do.
///
/// Something else is what was deleted, a folder, a link, and what links may go through, if there are any: a hidden file. Who writes
/// a hidden file and renames it is told of twice, and mostly it is still there the first time.
pub(crate) fn files(told: &Told, folders: &Folders, links: bool) -> Option<Files> {
    if told.elsewhere || !told.deleted.is_empty() || told.finished.len() + told.touched.len() == 0 {
        return None;
    }
    let mut files = Files::new();
    for path in told.finished.iter().chain(&told.touched) {
        let folder = folders.get(path.parent()?).filter(|_| !folders.contains_key(path))?;
        let name = path.file_name()?.to_str()?;
        match about(path, name, links)? {
            About::Nothing => {}
            About::Manifest(signature) => {
                let path = folder.join(name);
                files.insert(path.to_str()?.into(), (path, signature));
            }
        }
    }
    Some(files)
}

enum About {
    /// What a tool writes before it gives it its name, or what is no manifest.
    Nothing,
    Manifest(Signature),
}

fn about(path: &Path, name: &str, links: bool) -> Option<About> {
    let hidden = name.starts_with('.');
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && (hidden || !walk::is_manifest(name)) => {
            Some(About::Nothing)
        }
        Ok(metadata) if metadata.is_file() && hidden => (!links).then_some(About::Nothing),
        Ok(metadata) if metadata.is_file() => Some(match walk::is_manifest(name) {
            true => About::Manifest(Signature::of(&metadata)),
            false => About::Nothing,
        }),
        _ => None,
    }
}
