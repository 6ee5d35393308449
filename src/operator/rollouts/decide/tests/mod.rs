//! Decisions, against a model of the engine.

mod simulation;
