//! Windows: what the resources mean, against reference vectors and story by story.

mod book;
mod calendars;
mod commands;
mod decisions;
mod given;
mod meaning;
mod texts;
mod vectors;
