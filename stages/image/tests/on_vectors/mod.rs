//! The golden operator cases that have a vector path, run on it.

use mugs_image::Image;
use mugs_image::fast::{self, Blur, Counts, Geometry, Maps, Planes, Resizer, View, Window};
use mugs_image::ops::{self, Matrix, Rect, Resample};
use mugs_simd::Vectors;

/// An operator in the terms of the vector path.
pub enum Operator {
    /// Bicubic, to a square.
    Crop(Rect, usize),
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    Sharpness(f32),
    Hue(f64),
    Blur(f64),
    Grayscale,
    Maps(Box<Maps>),
    AutoContrast,
    Equalize,
    Map(Matrix, Resample),
}

/// What the operator makes of a picture.
pub fn run(vectors: Vectors, image: &Image, operator: &Operator) -> Image {
    let mut planes = Planes::new();
    fast::columns_of(vectors, image, &mut planes);
    let whole = Window::whole(planes.rows(), planes.columns());
    let mut out = Planes::new();
    match operator {
        Operator::Crop(area, size) => {
            let window = Window { rows: area.left..area.left + area.width, columns: area.top..area.top + area.height };
            let view = View::whole(&planes, false);
            Resizer::default().crop(vectors, &view, &window, *size, false, &mut out);
            return fast::to_image(&out, false);
        }
        Operator::Map(matrix, resample) => {
            let view = View::whole(&planes, false);
            Geometry::default().map(vectors, &view, &whole, matrix, *resample, &mut out);
            return fast::to_image(&out, true);
        }
        Operator::Sharpness(factor) => {
            fast::sharpness(vectors, &View::whole(&planes, false), &whole, *factor, &mut out);
            return fast::to_image(&out, true);
        }
        Operator::Blur(radius) => {
            fast::turn(vectors, &View::whole(&planes, false), &whole, &mut out);
            Blur::default().blur(vectors, &mut out, 3, *radius);
            return fast::to_image(&out, false);
        }
        Operator::Brightness(factor) => fast::brightness(vectors, &mut planes, *factor),
        Operator::Contrast(factor) => {
            let mean = fast::mean_luma(vectors, &planes);
            fast::contrast(vectors, &mut planes, mean, *factor);
        }
        Operator::Saturation(factor) => fast::saturation(vectors, &mut planes, *factor),
        Operator::Hue(factor) => fast::hue(vectors, &mut planes, *factor),
        Operator::Grayscale => fast::grayscale(vectors, &mut planes),
        Operator::Maps(maps) => maps.apply(vectors, &mut planes),
        Operator::AutoContrast => Maps::auto_contrast(&Counts::of(&planes)).apply(vectors, &mut planes),
        Operator::Equalize => Maps::equalize(&Counts::of(&planes)).apply(vectors, &mut planes),
    }
    fast::to_image(&planes, true)
}

/// A rotation; none where it moves pixels exactly.
pub fn rotation(image: &Image, degrees: f64, resample: Resample) -> Option<Operator> {
    let exact = degrees.rem_euclid(90.0) == 0.0;
    (!exact).then(|| Operator::Map(ops::rotation(image.width, image.height, degrees), resample))
}
