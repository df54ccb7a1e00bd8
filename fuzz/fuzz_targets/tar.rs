//! `mugs_shards::fuzzing::tar` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mugs_shards::fuzzing::tar(data);
});
