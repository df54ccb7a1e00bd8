//! Counter-based random numbers: every draw has a fixed address, on every host the same.
