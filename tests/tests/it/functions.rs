//! The functions' promises: the real binaries under a Runtime API that a test drives.

mod bundle;
mod crash;
mod duplicates;
mod emit;
mod lifecycle;
mod order;
mod poison;
mod scene;
mod traces;
