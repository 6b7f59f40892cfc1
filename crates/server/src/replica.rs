//! Who this process is among the replicas.

/// A replica, as others and people name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its Pod's name, or its host's.
    pub name: String,
    /// Another one after every start.
    pub id: String,
}

impl Identity {
    /// This process's.
    pub fn new() -> Self {
        let id = umbra_source::kubernetes::identity();
        let name = id.rsplit_once('_').map_or(id.as_str(), |(name, _)| name).to_owned();
        Identity { name, id }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Identity::new()
    }
}
