//! Benchmarks: micro benchmarks of what happens to every statement, and a side-by-side run of whole
//! proxies (`scripts/bench`).

pub mod responses;
pub mod statements;
