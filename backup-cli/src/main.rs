//! `ashlar`: back up block volumes from the command line.
fn main() {}
