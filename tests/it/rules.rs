//! Rules: what no script can do, what the library says of broken files, the check, the command.

mod attacks;
mod check;
mod command;
mod library;
