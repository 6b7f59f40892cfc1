//! Which paths are one mesh.

use std::path::PathBuf;

use serde::Serialize;
use umbra_ir::{Diagnostic, Severity};

/// Objects that are judged beside each other, and how many were found wanting.
#[derive(Debug, Serialize)]
pub(super) struct World {
    paths: Vec<PathBuf>,
    objects: usize,
    files: usize,
    errors: usize,
    warnings: usize,
}

impl World {
    pub(super) fn new(paths: Vec<PathBuf>, objects: usize, files: usize, found: &[Diagnostic]) -> Self {
        let count = |severity| found.iter().filter(|d| d.severity == severity).count();
        World { paths, objects, files, errors: count(Severity::Error), warnings: count(Severity::Warning) }
    }

    /// In one line, with its name where there are others.
    pub(super) fn summary(&self, named: bool) -> String {
        let World { paths, objects, files, errors, warnings } = self;
        let name = match paths.first().filter(|_| named) {
            Some(path) => format!("{}: ", path.display()),
            None => String::new(),
        };
        format!("{name}{objects} objects in {files} files: {errors} errors, {warnings} warnings")
    }
}

/// Each folder is a world of its own, and what is no folder belongs to every one of them. `together`: all is one world.
pub(super) fn divide(paths: &[PathBuf], together: bool) -> Vec<Vec<PathBuf>> {
    let (folders, shared): (Vec<PathBuf>, Vec<PathBuf>) =
        paths.iter().cloned().partition(|path| path.is_dir());
    if together || folders.len() < 2 {
        return vec![paths.to_vec()];
    }
    folders
        .into_iter()
        .map(|folder| std::iter::once(folder).chain(shared.iter().cloned()).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_worlds_and_files_belong_to_all() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        for folder in [&a, &b] {
            std::fs::create_dir(folder).unwrap();
        }
        let file = PathBuf::from("shared.yaml");
        let one = |paths: &[&PathBuf]| paths.iter().map(|path| (*path).clone()).collect::<Vec<_>>();
        for (paths, together, want) in [
            (vec![&a], false, vec![vec![&a]]),
            (vec![&file], false, vec![vec![&file]]),
            (vec![&a, &file], false, vec![vec![&a, &file]]),
            (vec![&a, &b], false, vec![vec![&a], vec![&b]]),
            (vec![&a, &file, &b], false, vec![vec![&a, &file], vec![&b, &file]]),
            (vec![&a, &b], true, vec![vec![&a, &b]]),
        ] {
            let want: Vec<_> = want.iter().map(|world| one(world)).collect();
            assert_eq!(divide(&one(&paths), together), want, "{paths:?} {together}");
        }
    }
}
