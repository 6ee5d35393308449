//! Placeholder for the figures of the gate.

fn main() {}
