//! Every effect of the data plane.

pub mod journal;
