//! One look at files named on the command line, for `validate` and `dump`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use umbra_ir::Diagnostic;

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

/// The name of standard input in diagnostics.
const STDIN: &str = "<stdin>";

/// Reads files and folders; `-` is standard input. A file that is named is read whatever its name ends with.
///
/// # Errors
/// A path that is not there or must not be read.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, LoadError> {
    Loader::default().load(paths)
}

/// Reads what the command line names, several times if need be: standard input says what it says once.
#[derive(Debug, Default)]
pub struct Loader {
    stdin: Option<Result<Vec<u8>, Box<Diagnostic>>>,
}

impl Loader {
    /// As [`load`].
    ///
    /// # Errors
    /// A path that is not there or must not be read.
    pub fn load(&mut self, paths: &[PathBuf]) -> Result<Loaded, LoadError> {
        let mut directory = Directory::default();
        let mut problems = Vec::new();
        for path in paths {
            let failed = |source| LoadError { path: path.clone(), source };
            if path.as_os_str() == "-" {
                let bytes = self.stdin().map_err(failed)?;
                let name = Arc::from(STDIN);
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

    fn stdin(&mut self) -> std::io::Result<Result<Vec<u8>, Box<Diagnostic>>> {
        if let Some(read) = &self.stdin {
            return Ok(read.clone());
        }
        let mut bytes = Vec::new();
        std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        let large = bytes.len() as u64 > MAX_FILE_BYTES;
        let read = if large { Err(Box::new(problem::too_large(STDIN, MAX_FILE_BYTES))) } else { Ok(bytes) };
        self.stdin = Some(read.clone());
        Ok(read)
    }

    /// The text of a file that a diagnostic names, as it stands now; `None`: it cannot be shown.
    pub fn text(&self, file: &str) -> Option<String> {
        let bytes = match file {
            STDIN => self.stdin.clone()?.ok()?,
            path => reading::bytes(Path::new(path), path).ok()?,
        };
        String::from_utf8(bytes).ok()
    }
}

/// The same of texts that somebody else has read, by the names of their files.
pub fn load_texts(files: &[(String, String)]) -> Loaded {
    let mut directory = Directory::default();
    for (name, text) in files {
        let name = Arc::from(name.as_str());
        directory.read(&name, Reading::of(Ok(text.clone().into_bytes()), &name, false));
    }
    directory.settle()
}

fn read(directory: &mut Directory, name: &Arc<str>, path: &Path) {
    directory.read(name, Reading::of(reading::bytes(path, name), name, false));
}
