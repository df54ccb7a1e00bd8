//! One picture: decoding it, and its crops under the default recipe.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mugs_data::crop::{CropConfig, Planner, render};
use mugs_image::Decoder;

fn crops(criterion: &mut Criterion) {
    let bytes = std::fs::read(mugs_test_support::golden("augment/images/a_500x375_q75_420.jpg")).unwrap();
    let mut decoder = Decoder::new().unwrap();
    criterion.bench_function("decode", |bencher| bencher.iter(|| decoder.decode(black_box(&bytes)).unwrap()));
    let image = decoder.decode(&bytes).unwrap().image;
    let planner = Planner::new(0, &CropConfig::default()).unwrap();
    let mut position = 0;
    criterion.bench_function("14 crops", |bencher| {
        bencher.iter(|| {
            position += 1;
            let plan = planner.plan(0, position, image.width, image.height);
            plan.crops.iter().map(|crop| render(&image, crop).pixels.len()).sum::<usize>()
        });
    });
}

criterion_group!(benches, crops);
criterion_main!(benches);
