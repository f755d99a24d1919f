//! Benchmarks: micro benchmarks of what happens to every statement, and a side-by-side run of whole
//! proxies (`scripts/bench`).

pub mod plot;
pub mod record;
pub mod responses;
pub mod statements;
pub mod sysbench;
pub mod workload;
