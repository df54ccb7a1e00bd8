//! The dataflow engine: stages, bounded channels, ordered workers, shutdown and meters.
