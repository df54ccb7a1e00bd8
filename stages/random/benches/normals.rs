//! Time of as many normals as the noise of a picture's erased rectangles takes, by each path.
#![allow(missing_docs, reason = "a bench")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mugs_random::{Address, Draws};
use mugs_simd::Level;
use std::hint::black_box;

fn fill(c: &mut Criterion) {
    let mut group = c.benchmark_group("fill_normal_f32");
    for count in [12, 12_000] {
        let mut values = vec![0.0; count];
        group.throughput(Throughput::Elements(count as u64));
        for level in Level::available() {
            group.bench_function(format!("{count}/{level}"), |b| {
                let mut draws = Draws::at(1, Address { epoch: 0, position: 0, lane: 0 });
                b.iter(|| draws.fill_normal_f32_by(level, black_box(&mut values)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fill);
criterion_main!(benches);
