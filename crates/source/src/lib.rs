//! Where changes come from, a directory of YAML and an API server, and where statuses go.
//!
//! Owns: which files of a directory are read and when, what a half-written, broken, emptied or deleted file
//! means, and which file wins when two hold the same object; lists and watches of an API server, which source wins,
//! conditions and their reasons, the Lease of the replica that writes statuses, Events.
//! Does not own: what a document says (`api`), what an object means (`istio`, `core`), the current state of the mesh
//! (`engine`), what a status should say (`server`).
//! Invariants: nothing that a file can contain ends the process or takes away an object that was good; only a
//! deleted file, or a document taken out of a file that reads well, does that. The core ([`Directory`]) does no
//! IO and has no clock; the channels out are bounded, and while they are full changes merge. Nothing here starts a task
//! or a thread: what has to run is handed out as [`Work`].
//! Start reading at: [`Directory`], then `scan.rs`, then [`watch`]; for the API server, [`kubernetes`].

mod directory;
pub mod kubernetes;
mod load;
mod near;
mod problem;
mod reading;
mod scan;
mod walk;
mod watch;
mod work;

pub use directory::{Directory, Generations, Place, Update};
pub use load::{LoadError, Loaded, Loader, load, load_texts};
pub use reading::Reading;
pub use watch::{StartError, Watch, watch};
pub use work::{Body, Work};
