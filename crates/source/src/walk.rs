//! Which files of a folder are read: the listing, without their contents.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
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
    /// Some name that does not begin with a dot is a link, or may be one.
    pub(crate) links: bool,
    /// What is wrong, for people.
    pub(crate) problems: Vec<Diagnostic>,
}

/// Whether a file of this name is read.
pub(crate) fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// How many folders deep a link that leads out of the folder is followed.
const FAR_DEPTH: usize = 4;

/// The most names that are looked at below all such links together.
const FAR_NAMES: usize = 10_000;

/// Where the kernel shows itself: no manifests, and folders without number.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Lists `root`, recursively and in the order of names.
///
/// Names with a leading dot are passed over (a ConfigMap mount shows its files through links into such a folder,
/// and those are followed). A folder that is reached twice, as through a loop of links, is entered once. A link that leads
/// out of `root` is followed [`FAR_DEPTH`] folders deep, but not to what `root` itself lies in, nor to the kernel's folders.
pub(crate) fn walk(root: &Path) -> Listing {
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut walk = Walk { root: real, listing: Listing::default(), entered: HashMap::new(), far: 0 };
    walk.enter(root, None);
    walk.listing
}

struct Walk {
    /// Without links.
    root: PathBuf,
    listing: Listing,
    entered: HashMap<Identity, PathBuf>,
    /// How many names were looked at that are not below `root`.
    far: usize,
}

impl Walk {
    /// `far`: how many more folders deep, when a link has led out of the root.
    fn enter(&mut self, folder: &Path, far: Option<usize>) {
        let names = match self.names(folder) {
            Ok(names) => names,
            Err(error) => {
                self.listing.unknown.push(folder.to_owned());
                let problem = problem::folder_unreadable(&folder.to_string_lossy(), &error.to_string());
                return self.listing.problems.push(problem);
            }
        };
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
            if far.is_some() {
                self.far += 1;
                if self.far > FAR_NAMES {
                    let why =
                        format!("more than {FAR_NAMES} names lie behind links that lead out of the folder");
                    return self.leave_out(folder, &why);
                }
            }
            self.look(&folder.join(name), &name.to_string_lossy(), far);
        }
    }

    /// The names in a folder, sorted; none when it was entered before.
    fn names(&mut self, folder: &Path) -> std::io::Result<Vec<OsString>> {
        let metadata = fs::metadata(folder)?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = self.entered.get(&identity) {
            let again = problem::folder_again(&folder.to_string_lossy(), &first.to_string_lossy());
            self.listing.problems.push(again);
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_link = || entry.file_type().map_or(true, |it| it.is_symlink());
            self.listing.links |= !name.as_bytes().starts_with(b".") && is_link();
            names.push(name);
        }
        self.entered.insert(identity, folder.to_owned());
        self.listing.folders.insert(folder.to_owned(), identity);
        names.sort();
        Ok(names)
    }

    fn look(&mut self, path: &Path, name: &str, far: Option<usize>) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                // A plain file that is gone by now is simply gone. A link that leads nowhere may be mended soon.
                if is_manifest(name) && fs::symlink_metadata(path).is_ok() {
                    self.listing.unknown.push(path.to_owned());
                    let problem = problem::unreadable(&path.to_string_lossy(), &error.to_string());
                    self.listing.problems.push(problem);
                }
                return;
            }
        };
        if metadata.is_dir() {
            match self.way(path, far) {
                Ok(far) => self.enter(path, far),
                Err(why) => self.leave_out(path, &why),
            }
        } else if is_manifest(name) {
            let Some(text) = path.to_str() else {
                let problem = problem::unreadable(&path.to_string_lossy(), "its name is not UTF-8");
                return self.listing.problems.push(problem);
            };
            if metadata.is_file() {
                self.listing.files.insert(text.into(), (path.to_owned(), Signature::of(&metadata)));
            } else {
                self.listing.problems.push(problem::not_a_file(text));
            }
        }
    }

    /// How far a folder may be entered, or why not at all.
    fn way(&self, folder: &Path, far: Option<usize>) -> Result<Option<usize>, String> {
        let deeper = match far {
            Some(0) => Err(format!(
                "it lies more than {FAR_DEPTH} folders deep behind a link that leads out of the folder"
            )),
            Some(left) => Ok(Some(left - 1)),
            None => Ok(None),
        };
        if !fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_symlink()) {
            return deeper;
        }
        let Ok(real) = folder.canonicalize() else { return deeper };
        if self.root.starts_with(&real) && self.root != real {
            return Err(format!("it leads to {}, in which this folder itself lies", real.display()));
        }
        if KERNEL.iter().any(|kernel| real.starts_with(kernel)) {
            return Err(format!("it leads to {}, where no manifests are", real.display()));
        }
        match real.starts_with(&self.root) {
            true => deeper,
            false => deeper.map(|far| Some(far.unwrap_or(FAR_DEPTH))),
        }
    }

    /// What was read there before stays.
    fn leave_out(&mut self, path: &Path, why: &str) {
        self.listing.unknown.push(path.to_owned());
        self.listing.problems.push(problem::not_followed(&path.to_string_lossy(), why));
    }
}
