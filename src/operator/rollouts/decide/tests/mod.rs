//! Decisions, against a model of the engine.

mod edited;
mod model;
mod simulation;
