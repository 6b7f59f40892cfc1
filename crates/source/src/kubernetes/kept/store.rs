//! The file: one row for each object, with a sum, and for each watch when it was last in step.

use std::fs;
use std::path::Path;

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{Batch, trim};

/// Another layout has another name, so that neither version stumbles over the other's.
const FILE: &str = "last-good-1.redb";
/// What the library may hold in memory.
const MEMORY: usize = 4 << 20;

/// Watch and object: sum and text.
const OBJECTS: TableDefinition<'_, (&str, &str), (u64, &str)> = TableDefinition::new("objects");
/// Watch: when it was in step last. Only of watches of which a complete list was written.
const HEARD: TableDefinition<'_, &str, u64> = TableDefinition::new("heard");
/// Of which cluster all this is.
const SCOPE: TableDefinition<'_, (), &str> = TableDefinition::new("scope");

/// The disk did not do what it should, or says what was never written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The folder.
    #[error("{0}")]
    Folder(std::io::Error),
    /// The file.
    #[error("{0}")]
    File(Box<redb::Error>),
    /// An object is not what was written.
    #[error("{0} has a wrong checksum")]
    Sum(String),
}

impl<E: Into<redb::Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        Broken::File(Box::new(error.into()))
    }
}

#[derive(Debug)]
pub(super) struct Store(Database);

impl Store {
    /// Opens the file, and says why it begins anew when it does.
    pub(super) fn open(folder: &Path, scope: &str) -> Result<(Store, Option<&'static str>), Broken> {
        fs::create_dir_all(folder).map_err(Broken::Folder)?;
        let path = folder.join(FILE);
        let existed = path.exists();
        match Store::open_checked(&path) {
            Ok(store) if !existed => {
                store.for_scope(scope).map(|(store, _)| (store, Some("nothing was kept yet")))
            }
            Ok(store) => store.for_scope(scope),
            // Somebody else uses it, or the disk is full: it is as good as before.
            Err(error) if !existed || !is_damage(&error) => Err(error),
            Err(_) => {
                fs::remove_file(&path).map_err(Broken::Folder)?;
                let (store, _) = Store::open_checked(&path)?.for_scope(scope)?;
                Ok((store, Some("the file is damaged")))
            }
        }
    }

    fn open_checked(path: &Path) -> Result<Store, Broken> {
        let path = path.to_owned();
        // A damaged file may lead the library astray: a panic is damage as well.
        let open = std::thread::spawn(move || -> Result<Database, Broken> {
            let mut database = Database::builder().set_cache_size(MEMORY).create(path)?;
            database.check_integrity()?;
            Ok(database)
        });
        let opened = open
            .join()
            .unwrap_or_else(|_| Err(redb::StorageError::Corrupted("it cannot be read".into()).into()));
        opened.map(Store)
    }

    fn for_scope(self, scope: &str) -> Result<(Store, Option<&'static str>), Broken> {
        let write = self.0.begin_write()?;
        let same = {
            let mut table = write.open_table(SCOPE)?;
            let same = table.get(())?.is_some_and(|of| of.value() == scope);
            table.insert((), scope)?;
            same
        };
        if !same {
            write.delete_table(OBJECTS)?;
            write.delete_table(HEARD)?;
        }
        write.open_table(OBJECTS)?;
        write.open_table(HEARD)?;
        write.commit()?;
        Ok((self, (!same).then_some("what was kept is of another cluster or scope")))
    }

    /// Writes all of it or nothing.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Broken> {
        let Batch { complete, objects, heard } = batch;
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(OBJECTS)?;
            for (watch, ids) in complete {
                let rows = table.range((watch.as_str(), "")..)?;
                let mut gone = Vec::new();
                for row in rows {
                    let (key, _) = row?;
                    let (of, id) = key.value();
                    if of != watch {
                        break;
                    }
                    if !ids.contains(id) {
                        gone.push(id.to_owned());
                    }
                }
                for id in gone {
                    table.remove((watch.as_str(), id.as_str()))?;
                }
            }
            for ((watch, id), text) in objects {
                let key = (watch.as_str(), id.as_str());
                match text.as_deref().map(trimmed) {
                    Some(text) => table.insert(key, (xxh3_64(text.as_bytes()), text.as_str()))?,
                    None => table.remove(key)?,
                };
            }
            let mut table = write.open_table(HEARD)?;
            for (watch, at) in heard {
                if complete.contains_key(watch) || table.get(watch.as_str())?.is_some() {
                    table.insert(watch.as_str(), at)?;
                }
            }
        }
        write.commit()?;
        Ok(())
    }

    /// When a watch was in step last, and its objects then; `None`: it never was.
    pub(super) fn read(&self, watch: &str) -> Result<Option<(u64, Vec<String>)>, Broken> {
        use redb::ReadableDatabase;
        let read = self.0.begin_read()?;
        let Some(heard) = read.open_table(HEARD)?.get(watch)?.map(|at| at.value()) else { return Ok(None) };
        let mut texts = Vec::new();
        for row in read.open_table(OBJECTS)?.range((watch, "")..)? {
            let (key, value) = row?;
            let ((of, id), (sum, text)) = (key.value(), value.value());
            if of != watch {
                break;
            }
            if xxh3_64(text.as_bytes()) != sum {
                return Err(Broken::Sum(format!("{watch} {id}")));
            }
            texts.push(text.to_owned());
        }
        Ok(Some((heard, texts)))
    }
}

/// Whether the file itself is at fault.
fn is_damage(error: &Broken) -> bool {
    match error {
        Broken::File(error) => match &**error {
            redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => true,
            redb::Error::Io(error) => {
                matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
            }
            _ => false,
        },
        Broken::Sum(_) => true,
        Broken::Folder(_) => false,
    }
}

fn trimmed(text: &str) -> String {
    let value = serde_json::from_str(text).map(|mut value: Value| {
        trim(&mut value);
        value.to_string()
    });
    value.unwrap_or_else(|_| text.to_owned())
}
