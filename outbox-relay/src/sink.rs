//! One sink: from the cursor over the lanes to the target, and back as a moved cursor.
//!
//! # Reading order
//! [`window`] (which events are settled, and so how far the cursor may move), [`lanes`] (what may
//! be sent next, in which order), [`backoff`] (when to try again), [`pipeline`] (the loop that
//! reads, sends and saves; everything it decides is decided in the three above).

pub mod backoff;
pub mod lanes;
pub mod pipeline;
pub mod supervisor;
pub mod window;
