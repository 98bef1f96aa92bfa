//! What may go wrong on the way: every call of every operation in turn, one fault at a time and several at once, every
//! call of the device, and futures that are dropped. Whatever happens, the outcome is right bytes or an error that names
//! what it was, older backups are untouched, `delete` clears what was left, and the next run succeeds.

mod calls;
mod device;
mod dropped;
mod random;
pub mod scene;
