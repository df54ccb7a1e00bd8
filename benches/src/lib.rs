//! Benches per stage, and side-by-side runs against other loaders and steps.
