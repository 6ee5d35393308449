//! Rollouts behind gates, with the real OpenKruise Rollouts controller: what is let out, held, put
//! back, and what went out by another hand. The gate's answers are scripted.

mod beside;
mod bypasses;
mod stories;
mod styles;
pub mod world;
