//! Windows: what the resources mean, against reference vectors and story by story.

#![allow(clippy::needless_pass_by_value, reason = "a schedule written in place reads best")]

mod book;
mod calendars;
mod commands;
mod decisions;
mod given;
mod meaning;
mod texts;
mod vectors;
