//! Time of each operator on a picture of ImageNet's usual size, and of the decoder.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mugs_image::fast::{self, Blur, Geometry, Planes, Resizer, View, Window};
use mugs_image::ops::{self, Filter, Rect, Resample, tensor::Normaliser};
use mugs_image::{Decoder, Image};
use mugs_simd::{Level, Vectors};
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

/// The literal operators and their vector twins on a crop of 224 x 224, as weak crops need them.
fn twins(c: &mut Criterion) {
    let Some(vectors) = Vectors::of(Level::chosen()) else { return };
    let image = Decoder::new().unwrap().decode(&photograph()).unwrap().image;
    let area = Rect { top: 20, left: 60, height: 340, width: 345 };
    let (mut whole, mut crop, mut out) = (Planes::new(), Planes::new(), Planes::new());
    fast::columns_of(vectors, &image, &mut whole);
    let window = Window { rows: 60..405, columns: 20..360 };
    let (mut resizer, mut geometry, mut blur) = (Resizer::default(), Geometry::default(), Blur::default());
    let view = View::whole(&whole, false);
    resizer.crop(vectors, &view, &window, 224, true, &mut crop);
    let small = ops::resized_crop(&image, area, 224, 224, Filter::Bicubic);

    c.bench_function("twins/planes/vectors", |b| b.iter(|| fast::columns_of(vectors, black_box(&image), &mut out)));
    c.bench_function("twins/crop and resize/scalar", |b| {
        b.iter(|| ops::resized_crop(black_box(&image), area, 224, 224, Filter::Bicubic))
    });
    c.bench_function("twins/crop and resize/vectors", |b| {
        b.iter(|| resizer.crop(vectors, black_box(&view), &window, 224, true, &mut out))
    });
    let scalar: [(&str, Operator); 6] = [
        ("brightness", |image| ops::brightness(image, 1.3)),
        ("contrast", |image| ops::contrast(image, 1.3)),
        ("saturation", |image| ops::saturation(image, 1.3)),
        ("hue", |image| ops::hue(image, 0.05)),
        ("grayscale", ops::grayscale),
        ("blur", |image| ops::gaussian_blur(image, 1.2)),
    ];
    for (name, operator) in scalar {
        c.bench_function(&format!("twins/{name}/scalar"), |b| {
            b.iter_batched_ref(|| small.clone(), operator, BatchSize::LargeInput)
        });
    }
    c.bench_function("twins/brightness/vectors", |b| b.iter(|| fast::brightness(vectors, &mut crop, 1.01)));
    c.bench_function("twins/contrast/vectors", |b| {
        b.iter(|| {
            let mean = fast::mean_luma(vectors, &crop);
            fast::contrast(vectors, &mut crop, mean, 1.01);
        })
    });
    c.bench_function("twins/saturation/vectors", |b| b.iter(|| fast::saturation(vectors, &mut crop, 1.01)));
    c.bench_function("twins/hue/vectors", |b| b.iter(|| fast::hue(vectors, &mut crop, 0.05)));
    c.bench_function("twins/grayscale/vectors", |b| b.iter(|| fast::grayscale(vectors, &mut crop)));
    c.bench_function("twins/blur/vectors", |b| b.iter(|| blur.blur(vectors, &mut crop, 3, 1.2)));
    for (name, matrix) in [
        ("shear along columns", [1.0, 0.0, 0.0, 0.27, 1.0, 0.0]),
        ("shear along rows", [1.0, 0.27, 0.0, 0.0, 1.0, 0.0]),
        ("rotate", ops::rotation(image.width, image.height, 17.0)),
    ] {
        for (kind, resample) in [("bilinear", Resample::Bilinear), ("bicubic", Resample::Bicubic)] {
            c.bench_function(&format!("twins/{name}, {kind}, whole picture/scalar"), |b| {
                b.iter(|| ops::affine(black_box(&image), matrix, resample))
            });
            c.bench_function(&format!("twins/{name}, {kind}, a third of it/vectors"), |b| {
                let window = Window { rows: 150..430, columns: 60..285 };
                b.iter(|| geometry.map(vectors, black_box(&view), &window, &matrix, resample, &mut out))
            });
        }
    }
}

criterion_group!(benches, geometry, in_place, twins);
criterion_main!(benches);
