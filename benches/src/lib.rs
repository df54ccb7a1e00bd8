//! Benches per stage, and side-by-side runs against other loaders and steps: see `README.md`. This library is empty.
