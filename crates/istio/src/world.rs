//! What a front end reads: the mesh as far as it is derived, and objects.

use umbra_api::Objects;
use umbra_mesh::View;

/// The view of the mesh, and objects beside it.
pub trait World: View + Objects {}

impl<W: View + Objects> World for W {}
