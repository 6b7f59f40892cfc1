//! What one look at one file gave.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use umbra_ir::{Code, Diagnostic, ObjectId};

use crate::Place;
use crate::problem;

/// No file of manifests is larger; this bounds what a stray or hostile file can cost.
pub(crate) const MAX_FILE_BYTES: u64 = 64 << 20;

/// What one look at one file gave.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// What could be understood, in the file's order.
    pub objects: Vec<Place>,
    /// Objects that the file names, but whose content cannot be understood.
    pub refused: Vec<ObjectId>,
    /// The text could be read; otherwise it says nothing at all.
    pub ok: bool,
    /// A document does not say which object it is: whatever is missing now may be that one.
    pub nameless: bool,
    /// What is wrong, with file and line.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// A file that gave nothing but a reason why.
    pub(crate) fn nothing(diagnostic: Diagnostic) -> Self {
        Reading { diagnostics: vec![diagnostic], ..Reading::default() }
    }

    /// What `text` says. A file that says nothing, but had objects, counts as not written to its end.
    pub fn parse(text: &str, path: &str, had_objects: bool) -> Self {
        if had_objects && text.lines().all(is_nothing) {
            return Reading::nothing(problem::emptied(path));
        }
        let parsed = umbra_api::parse_documents(text, path);
        let nameless = [Code::NoIdentity, Code::NotAnObject];
        Reading {
            objects: parsed.objects.into_iter().map(|object| Arc::new(object.shared())).collect(),
            refused: parsed.refused,
            ok: parsed.ok,
            nameless: parsed.diagnostics.iter().any(|diagnostic| nameless.contains(&diagnostic.code)),
            diagnostics: parsed.diagnostics,
        }
    }

    /// What the file at `path` says.
    pub(crate) fn of(bytes: Result<Vec<u8>, Box<Diagnostic>>, path: &str, had_objects: bool) -> Self {
        match bytes.map(String::from_utf8) {
            Ok(Ok(text)) => Reading::parse(&text, path, had_objects),
            Ok(Err(error)) => Reading::nothing(problem::not_utf8(path, error.utf8_error().valid_up_to())),
            Err(diagnostic) => Reading::nothing(*diagnostic),
        }
    }
}

/// Whether a line of YAML says nothing: it is blank, a comment, or between documents.
fn is_nothing(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim();
    line.is_empty()
        || line.starts_with('#')
        || line.starts_with("---") && is_nothing(line.trim_start_matches('-'))
}

/// The bytes of a regular file of bearable size.
pub(crate) fn bytes(path: &Path, name: &str) -> Result<Vec<u8>, Box<Diagnostic>> {
    limited(path, name, MAX_FILE_BYTES)
}

fn limited(path: &Path, name: &str, limit: u64) -> Result<Vec<u8>, Box<Diagnostic>> {
    let read = || -> std::io::Result<Option<Vec<u8>>> {
        let mut file = File::open(path)?;
        // A sparse file of terabytes is refused before a byte of it is read.
        if file.seek(SeekFrom::End(0)).is_ok_and(|size| size > limit) {
            return Ok(None);
        }
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= limit).then_some(bytes))
    };
    match read() {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Box::new(problem::too_large(name, limit))),
        Err(error) => Err(Box::new(problem::unreadable(name, &error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_limited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        for (size, limit, code) in [(10, 10, None), (11, 10, Some(Code::FileTooLarge)), (0, 10, None)] {
            std::fs::write(&path, vec![b' '; size]).unwrap();
            assert_eq!(limited(&path, "a.yaml", limit).err().map(|d| d.code), code, "{size} of {limit}");
        }
        let sparse = File::create(&path).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(bytes(&path, "a.yaml").unwrap_err().code, Code::FileTooLarge);
        assert_eq!(bytes(&folder.path().join("none"), "none").unwrap_err().code, Code::FileUnreadable);
    }

    #[test]
    fn what_is_not_text_is_said() {
        let reading = Reading::of(Ok(vec![b'a', 0xff]), "a.yaml", true);
        assert!(!reading.ok);
        assert_eq!(reading.diagnostics[0].code, Code::FileNotUtf8);
        assert!(reading.diagnostics[0].message.contains("byte 1"));
    }
}
