//! End-to-end tests: real binaries, real kills, golden data and interop with Python.
