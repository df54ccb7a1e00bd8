//! The `mugs-pipeline` command.

fn main() {}
