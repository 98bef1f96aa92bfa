//! What was damaged, forged or planted in a repository: never a wrong byte without an error, never a panic, and the
//! object that is wrong is named.

mod bytes;
mod fields;
mod forged;
mod hostile;
mod read;
