//! The xDS protocol without IO
