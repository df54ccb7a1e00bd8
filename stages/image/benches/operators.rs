//! Time of each operator on a picture of ImageNet's usual size, and of the decoder.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mugs_image::ops::{self, Filter, Rect, Resample, tensor::Normaliser};
use mugs_image::{Decoder, Image};
use std::hint::black_box;

type Operator = fn(&mut Image);

fn photograph() -> Vec<u8> {
    std::fs::read(mugs_test_support::golden("augment/images/a_500x375_q75_420.jpg")).unwrap()
}

fn geometry(c: &mut Criterion) {
    let file = photograph();
    let mut decoder = Decoder::new().unwrap();
    c.bench_function("decode/500x375", |b| b.iter(|| decoder.decode(black_box(&file)).unwrap()));
    let image = decoder.decode(&file).unwrap().image;
    c.bench_function("resize/500x375 to 224", |b| b.iter(|| ops::resize(black_box(&image), 224, 224, Filter::Bicubic)));
    let area = Rect { top: 100, left: 150, height: 120, width: 140 };
    c.bench_function("resized_crop/140x120 to 96", |b| {
        b.iter(|| ops::resized_crop(black_box(&image), area, 96, 96, Filter::Bicubic))
    });
    for (name, resample) in [("bilinear", Resample::Bilinear), ("bicubic", Resample::Bicubic)] {
        c.bench_function(&format!("rotate/{name}"), |b| b.iter(|| ops::rotate(black_box(&image), 17.0, resample)));
    }
}

fn in_place(c: &mut Criterion) {
    let image = Decoder::new().unwrap().decode(&photograph()).unwrap().image;
    let operators: [(&str, Operator); 9] = [
        ("brightness", |image| ops::brightness(image, 1.3)),
        ("contrast", |image| ops::contrast(image, 1.3)),
        ("saturation", |image| ops::saturation(image, 1.3)),
        ("hue", |image| ops::hue(image, 0.05)),
        ("grayscale", ops::grayscale),
        ("gaussian_blur", |image| ops::gaussian_blur(image, 1.2)),
        ("sharpness", |image| ops::sharpness(image, 1.7)),
        ("equalize", ops::equalize),
        ("hflip", ops::hflip),
    ];
    for (name, operator) in operators {
        c.bench_function(&format!("{name}/500x375"), |b| {
            b.iter_batched_ref(|| image.clone(), operator, BatchSize::LargeInput)
        });
    }
    let crop = ops::resize(&image, 224, 224, Filter::Bicubic);
    let normaliser = Normaliser::default();
    let mut tensor = vec![0.0; 3 * 224 * 224];
    c.bench_function("tensor/224", |b| b.iter(|| normaliser.write(black_box(&crop.pixels), &mut tensor)));
}

criterion_group!(benches, geometry, in_place);
criterion_main!(benches);
