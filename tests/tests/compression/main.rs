//! Compression from clients and to servers, in all combinations: nobody can tell, but by the bytes.

#![allow(clippy::unwrap_used)]

mod clients;
mod frames;
mod servers;
