//! The `mugs-shard` command.

fn main() {}
