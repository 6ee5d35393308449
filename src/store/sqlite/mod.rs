//! The embedded home: SQLite in a directory.
