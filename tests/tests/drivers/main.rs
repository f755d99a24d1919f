//! Real drivers, in their own languages, against the proxy: what works directly has to
//! work through it, with the same outcome.

#![allow(clippy::unwrap_used)]

mod programs;
mod rust;
