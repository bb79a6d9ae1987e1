//! What people read: words, error codes and their documentation, messages, `--help`, and line
//! lengths.

mod codes;
mod help;
mod settings_tables;
mod words;
mod wrap;
