//! What the API means: api to ir
