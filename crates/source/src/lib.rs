//! Where changes come from
