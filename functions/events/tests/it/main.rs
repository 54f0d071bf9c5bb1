//! The committed schemas: as the types say, and never broken.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod compatibility;
mod schemas;
