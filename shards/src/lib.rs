//! Shard sets: samples in tar files with an index and a manifest; packing, verifying, reading.
