//! End-to-end tests: real binaries, real kills, golden data and interop with Python. The tests are in `tests/e2e`;
//! this library is empty.
