//! Simulations with seeds: the verdict driven through crashes, reorderings, duplicates, clock jumps
//! and slow or lying checks.
//!
//! A failure names its seed, and `PROBEGATE_SEEDS=n..m` reproduces it: nothing in a simulation
//! depends on anything but the seed.

mod engine;
mod machine;
mod random;
mod world;
