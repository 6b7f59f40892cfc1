//! Which files of a folder are read: the listing, without their contents.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use umbra_ir::Diagnostic;

use crate::problem;

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
    /// Also moves when a tool sets the modification time back.
    changed: (i64, i64),
}

impl Signature {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Signature {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Device and inode: which folder a path leads to.
pub(crate) type Identity = (u64, u64);

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The files to read, in the order in which the first wins.
    pub(crate) files: BTreeMap<Arc<str>, (PathBuf, Signature)>,
    /// Every folder entered and its identity, for change events.
    pub(crate) folders: BTreeMap<PathBuf, Identity>,
    /// Folders and files that could not be looked at: what lies below them is unknown, not gone.
    pub(crate) unknown: Vec<PathBuf>,
    /// What is wrong, for people.
    pub(crate) problems: Vec<Diagnostic>,
}

/// Whether a file of this name is read.
pub(crate) fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// Lists `root`, recursively and in the order of names.
///
/// Names with a leading dot are passed over (a ConfigMap mount shows its files through links into such a folder,
/// and those are followed). A folder that is reached twice, as through a loop of links, is entered once.
pub(crate) fn walk(root: &Path) -> Listing {
    let mut listing = Listing::default();
    enter(root, &mut listing, &mut HashMap::new());
    listing
}

fn enter(folder: &Path, listing: &mut Listing, entered: &mut HashMap<Identity, PathBuf>) {
    let read = fs::metadata(folder).and_then(|metadata| {
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = entered.get(&identity) {
            listing.problems.push(problem::folder_again(&folder.to_string_lossy(), &first.to_string_lossy()));
            return Ok(Vec::new());
        }
        let mut names =
            fs::read_dir(folder)?.map(|e| Ok(e?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
        entered.insert(identity, folder.to_owned());
        listing.folders.insert(folder.to_owned(), identity);
        names.sort();
        Ok(names)
    });
    let names = match read {
        Ok(names) => names,
        Err(error) => {
            listing.unknown.push(folder.to_owned());
            let problem = problem::folder_unreadable(&folder.to_string_lossy(), &error.to_string());
            listing.problems.push(problem);
            return;
        }
    };
    for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
        look(&folder.join(name), &name.to_string_lossy(), listing, entered);
    }
}

fn look(path: &Path, name: &str, listing: &mut Listing, entered: &mut HashMap<Identity, PathBuf>) {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            // A plain file that is gone by now is simply gone. A link that leads nowhere may be mended soon.
            if is_manifest(name) && fs::symlink_metadata(path).is_ok() {
                listing.unknown.push(path.to_owned());
                listing.problems.push(problem::unreadable(&path.to_string_lossy(), &error.to_string()));
            }
            return;
        }
    };
    if metadata.is_dir() {
        enter(path, listing, entered);
    } else if is_manifest(name) {
        let Some(text) = path.to_str() else {
            listing.problems.push(problem::unreadable(&path.to_string_lossy(), "its name is not UTF-8"));
            return;
        };
        if metadata.is_file() {
            listing.files.insert(text.into(), (path.to_owned(), Signature::of(&metadata)));
        } else {
            listing.problems.push(problem::not_a_file(text));
        }
    }
}
