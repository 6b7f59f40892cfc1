//! One look at files named on the command line, for `validate` and `dump`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::{Directory, Update};
use crate::problem;
use crate::reading::{self, MAX_FILE_BYTES, Reading};
use crate::walk;

/// A path that cannot be read at all: wrong usage rather than a wrong file.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct LoadError {
    /// As given.
    pub path: PathBuf,
    /// The system's words.
    pub source: std::io::Error,
}

/// What was loaded.
pub type Loaded = Update;

/// Reads files and folders; `-` is standard input. A file that is named is read whatever its name ends with.
///
/// # Errors
/// A path that is not there or must not be read.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, LoadError> {
    let mut directory = Directory::default();
    let mut problems = Vec::new();
    for path in paths {
        let failed = |source| LoadError { path: path.clone(), source };
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
            let name = Arc::from("<stdin>");
            let large = bytes.len() as u64 > MAX_FILE_BYTES;
            let bytes =
                if large { Err(Box::new(problem::too_large(&name, MAX_FILE_BYTES))) } else { Ok(bytes) };
            directory.read(&name, Reading::of(bytes, &name, false));
        } else if std::fs::metadata(path).map_err(failed)?.is_dir() {
            std::fs::read_dir(path).map_err(failed)?;
            let listing = walk::walk(path);
            problems.extend(listing.problems);
            for (name, (path, _)) in listing.files {
                read(&mut directory, &name, &path);
            }
        } else {
            std::fs::File::open(path).map_err(failed)?;
            read(&mut directory, &path.to_string_lossy().into(), path);
        }
    }
    directory.set_problems(problems);
    Ok(directory.settle())
}

fn read(directory: &mut Directory, name: &Arc<str>, path: &Path) {
    directory.read(name, Reading::of(reading::bytes(path, name), name, false));
}
