//! Changing a topology file by order: text in, text out, comments and layout kept. Pure.
//!
//! Called by commands that change who belongs to a cluster. What they write is read and judged like any file before it is used.

pub mod host;
