//! Every effect of the data plane: sockets, time, randomness and files. The rules are in `ostiary-core`.
//!
//! `pipeline` shows the stages of a request in order; everything else is one of them, or what they stand on.

mod arrival;
mod body;
mod clock;
mod denials;
mod door;
mod events;
mod exchange;
mod forward;
pub mod gateway;
mod identity;
pub mod journal;
mod listen;
mod message;
mod pipeline;
mod reply;
mod respond;
pub mod secrets;
mod session;
mod state;
mod stream;
mod trail;
mod upstream;
mod verdict;
mod wellknown;
