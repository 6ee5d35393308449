//! Files: what is read from them, and what is said about what is wrong.

#[path = "files/load.rs"]
mod load;

#[path = "files/reload.rs"]
mod reload;

#[path = "files/schemas.rs"]
mod schemas;

#[path = "files/blackbox.rs"]
mod blackbox;

#[path = "files/invalid.rs"]
mod invalid;
#[path = "files/properties.rs"]
mod properties;

#[path = "files/commands.rs"]
mod commands;
