//! Every effect of the data plane: sockets, time, randomness and files. The rules are in `ostiary-core`.
//!
//! `pipeline` shows the stages of a request in order; everything else is one of them, or what they stand on.

mod arrival;
mod ask;
mod body;
mod client_answer;
mod clock;
mod control;
mod cors;
mod denials;
mod dialogue;
mod door;
mod events;
mod exchange;
mod flight;
mod forward;
pub mod gateway;
mod handle;
mod identity;
pub mod journal;
mod listen;
mod message;
mod opening;
mod pipeline;
mod quota;
mod reply;
mod respond;
pub mod revocations;
pub mod secrets;
mod state;
mod stream;
mod teller;
mod trail;
mod upstream;
mod verdict;
mod wellknown;
