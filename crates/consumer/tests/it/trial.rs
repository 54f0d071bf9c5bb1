//! The test kit's trial: sound handlers pass it over every back end, and each planted fault is caught where it shows.

mod planted;
mod sound;
