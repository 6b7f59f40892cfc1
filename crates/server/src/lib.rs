//! The binary umbra
