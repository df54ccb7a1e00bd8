//! The vector paths against the specification's own arithmetic: random pictures, sizes and parameters, every kind of
//! vectors that the machine has.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use mugs_image::Image;
use mugs_image::fast::{self, Blur, Counts, Geometry, Maps, Planes, Resizer, ToFloats, View, Window};
use mugs_image::ops::{self, Filter, Matrix, Rect, Resample};
use mugs_simd::{Level, Vectors};
use proptest::prelude::*;

fn all_vectors() -> impl Iterator<Item = Vectors> {
    Level::available().filter_map(Vectors::of)
}

prop_compose! {
    /// Noise, or smooth areas with edges (where most values are alike), up to 80 pixels a side.
    fn picture()(width in 1..80_usize, height in 1..80_usize, smooth in any::<bool>(), seed in any::<u32>()) -> Image {
        noise(width, height, smooth, seed)
    }
}

fn noise(width: usize, height: usize, smooth: bool, seed: u32) -> Image {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let pixels = (0..width * height * 3).map(|at| {
        let random = next();
        let (x, y) = (at / 3 % width, at / 3 / width);
        if smooth {
            ((x / 7 * 90 + y / 5 * 60 + at % 3 * 40) as u8) / 2 + (random % 5 == 0) as u8
        } else {
            (random >> 11) as u8
        }
    });
    Image::new(width, height, pixels.collect()).unwrap()
}

fn turned(image: &Image) -> Planes {
    let mut planes = Planes::new();
    fast::columns_of(all_vectors().last().unwrap(), image, &mut planes);
    planes
}

fn after(image: &Image, change: impl FnOnce(&mut Image)) -> Image {
    let mut out = image.clone();
    change(&mut out);
    out
}

/// What an in-place operator on planes makes of a picture.
fn in_place(image: &Image, change: impl FnOnce(&mut Planes)) -> Image {
    let mut planes = turned(image);
    change(&mut planes);
    fast::to_image(&planes, true)
}

/// A part of a length: first and end.
fn part(length: usize, from: f64, share: f64) -> std::ops::Range<usize> {
    let first = (length as f64 * from) as usize;
    let count = 1 + ((length - first - 1) as f64 * share) as usize;
    first..first + count
}

/// A window of a turned picture as the rectangle that it is in the picture.
fn cut(image: &Image, window: &Window) -> Image {
    let (x, y) = (&window.rows, &window.columns);
    ops::crop(image, y.start as isize, x.start as isize, y.len(), x.len())
}

fn resample() -> impl Strategy<Value = Resample> {
    prop_oneof![Just(Resample::Bilinear), Just(Resample::Bicubic)]
}

/// The maps that the operators make, and any other.
fn matrix() -> impl Strategy<Value = Matrix> {
    let shift = || {
        prop_oneof![-60.0..60.0_f64, (-60..60_i32).prop_map(f64::from), (-99..99_i32).prop_map(|n| f64::from(n) / 2.0)]
    };
    let slope = || prop_oneof![-0.35..0.35_f64, Just(0.25), Just(-0.5), Just(1e-9), Just(0.0), Just(2.0)];
    prop_oneof![
        slope().prop_map(|f| [1.0, f, 0.0, 0.0, 1.0, 0.0]),
        slope().prop_map(|f| [1.0, 0.0, 0.0, f, 1.0, 0.0]),
        shift().prop_map(|p| [1.0, 0.0, p, 0.0, 1.0, 0.0]),
        shift().prop_map(|p| [1.0, 0.0, 0.0, 0.0, 1.0, p]),
        (slope(), shift()).prop_map(|(f, p)| [1.0, f, p, 0.0, 1.0, 0.0]),
        (slope(), shift()).prop_map(|(f, p)| [1.0, 0.0, 0.0, f, 1.0, p]),
        (1..80_usize, 1..80_usize, -40.0..40.0_f64).prop_map(|(w, h, degrees)| ops::rotation(w, h, degrees)),
        proptest::array::uniform6(-2.0..2.0_f64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn turning_and_back_is_the_picture(image in picture()) {
        prop_assert_eq!(fast::to_image(&turned(&image), true), image);
    }

    #[test]
    fn crops(
        image in picture(), cut in proptest::array::uniform4(0.0..1.0_f64), size in 1..80_usize, flags in any::<[bool; 2]>(),
    ) {
        let [flipped, mirrored] = flags;
        let window = Window { rows: part(image.width, cut[0], cut[1]), columns: part(image.height, cut[2], cut[3]) };
        let source = if flipped { after(&image, ops::hflip) } else { image.clone() };
        let (x, y) = (&window.rows, &window.columns);
        let area = Rect { top: y.start, left: x.start, height: y.len(), width: x.len() };
        let mut wanted = ops::resized_crop(&source, area, size, size, Filter::Bicubic);
        if mirrored {
            ops::hflip(&mut wanted);
        }
        let planes = turned(&image);
        for vectors in all_vectors() {
            let mut out = Planes::new();
            Resizer::default().crop(vectors, &View::whole(&planes, flipped), &window, size, mirrored, &mut out);
            prop_assert_eq!(&fast::to_image(&out, false), &wanted, "{:?}", vectors);
        }
    }

    #[test]
    fn colours(image in picture(), factor in prop_oneof![0.0..2.0_f32, Just(0.0), Just(1.0), Just(0.5)], mean in any::<u8>()) {
        let wide = f64::from(factor);
        for vectors in all_vectors() {
            let changed = |change: &dyn Fn(&mut Planes)| in_place(&image, change);
            prop_assert_eq!(
                changed(&|planes| fast::brightness(vectors, planes, factor)),
                after(&image, |image| ops::brightness(image, wide))
            );
            prop_assert_eq!(
                changed(&|planes| fast::contrast(vectors, planes, fast::mean_luma(vectors, planes), factor)),
                after(&image, |image| ops::contrast(image, wide))
            );
            prop_assert_eq!(
                changed(&|planes| fast::saturation(vectors, planes, factor)),
                after(&image, |image| ops::saturation(image, wide))
            );
            prop_assert_eq!(changed(&|planes| fast::grayscale(vectors, planes)), after(&image, ops::grayscale));
            let maps = Maps::blend(mean, factor);
            prop_assert_eq!(
                changed(&|planes| fast::contrast(vectors, planes, mean, factor)),
                changed(&|planes| maps.apply(vectors, planes))
            );
        }
    }

    #[test]
    fn blurs(image in picture(), radius in prop_oneof![0.0..2.5_f64, 2.5..70.0_f64]) {
        prop_assume!(Blur::can(radius));
        let wanted = after(&image, |image| ops::gaussian_blur(image, radius));
        for vectors in all_vectors() {
            prop_assert_eq!(&in_place(&image, |planes| transposed_blur(vectors, planes, radius)), &wanted);
        }
    }

    #[test]
    fn look_ups(image in picture(), number in 0..300_i32, cuts in proptest::array::uniform4(0.0..1.0_f64)) {
        let planes = turned(&image);
        let counts = Counts::of(&planes);
        let window = Window { rows: part(image.width, cuts[0], cuts[1]), columns: part(image.height, cuts[2], cuts[3]) };
        let bits = number as u32 % 10;
        let cases = [
            (Maps::invert(), after(&image, ops::invert)),
            (Maps::solarize(number), after(&image, |image| ops::solarize(image, number))),
            (Maps::solarize_add(number), after(&image, |image| ops::solarize_add(image, number))),
            (Maps::posterize(bits), after(&image, |image| ops::posterize(image, bits))),
            (Maps::auto_contrast(&counts), after(&image, ops::auto_contrast)),
            (Maps::equalize(&counts), after(&image, ops::equalize)),
        ];
        for vectors in all_vectors() {
            for (maps, wanted) in &cases {
                let mut out = Planes::new();
                maps.copy(vectors, &View::whole(&planes, false), &window, &mut out);
                prop_assert_eq!(fast::to_image(&out, true), cut(wanted, &window));
                prop_assert_eq!(&in_place(&image, |planes| maps.apply(vectors, planes)), wanted);
                // The counts follow the maps, and maps can be joined.
                prop_assert_eq!(counts.mapped(maps), Counts::of(&turned(wanted)));
                let both = maps.then(&Maps::solarize(77));
                let wanted = after(wanted, |image| ops::solarize(image, 77));
                prop_assert_eq!(&in_place(&image, |planes| both.apply(vectors, planes)), &wanted);
            }
        }
    }

    #[test]
    fn windows_of_sharpened_pictures(
        image in picture(), factor in prop_oneof![0.0..2.0_f64, Just(1.0)], cuts in proptest::array::uniform4(0.0..1.0_f64),
        flipped in any::<bool>(),
    ) {
        let source = if flipped { after(&image, ops::hflip) } else { image.clone() };
        let wanted = after(&source, |image| ops::sharpness(image, factor));
        let window = Window { rows: part(image.width, cuts[0], cuts[1]), columns: part(image.height, cuts[2], cuts[3]) };
        let planes = turned(&image);
        for vectors in all_vectors() {
            let mut out = Planes::new();
            fast::sharpness(vectors, &View::whole(&planes, flipped), &window, factor as f32, &mut out);
            prop_assert_eq!(fast::to_image(&out, true), cut(&wanted, &window));
        }
    }

    #[test]
    fn hues(image in picture(), factor in -0.5..0.5_f64) {
        let wanted = after(&image, |image| ops::hue(image, factor));
        for vectors in all_vectors() {
            prop_assert_eq!(&in_place(&image, |planes| fast::hue(vectors, planes, factor)), &wanted);
        }
    }

    #[test]
    fn floats(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for vectors in all_vectors() {
            let floats = ToFloats::new(vectors, 0.485, 0.229).unwrap();
            let mut out = vec![0.0; bytes.len()];
            floats.write(vectors, &bytes, &mut out);
            let wanted: Vec<f32> = bytes.iter().map(|&v| (f32::from(v) / 255.0 - 0.485) / 0.229).collect();
            prop_assert_eq!(out, wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn windows_of_mapped_pictures(
        image in picture(), matrix in matrix(), resample in resample(), cuts in proptest::array::uniform4(0.0..1.0_f64),
        flipped in any::<bool>(),
    ) {
        let source = if flipped { after(&image, ops::hflip) } else { image.clone() };
        let wanted = ops::affine(&source, matrix, resample);
        let window = Window { rows: part(image.width, cuts[0], cuts[1]), columns: part(image.height, cuts[2], cuts[3]) };
        let planes = turned(&image);
        for vectors in all_vectors() {
            let mut out = Planes::new();
            Geometry::default().map(vectors, &View::whole(&planes, flipped), &window, &matrix, resample, &mut out);
            prop_assert_eq!(fast::to_image(&out, true), cut(&wanted, &window), "{:?} {:?} {:?}", matrix, resample, vectors);
        }
    }
}

/// The blur works on rows that are the picture's rows.
fn transposed_blur(vectors: Vectors, planes: &mut Planes, radius: f64) {
    // A box filter treats both sides alike, and the three passes across and down commute only as specified: rows first.
    let mut standing = Planes::new();
    let (rows, columns) = (planes.rows(), planes.columns());
    fast::turn(vectors, &View::whole(planes, false), &Window::whole(rows, columns), &mut standing);
    Blur::default().blur(vectors, &mut standing, 3, radius);
    fast::turn(vectors, &View::whole(&standing, false), &Window::whole(columns, rows), planes);
}

/// Radii from nothing over those whose box is all middle to whole boxes.
#[test]
fn blurs_of_the_smallest_radii() {
    let image = noise(9, 7, false, 5);
    for radius in [0.0, 1e-30, 1e-8, 0.0004, 0.002, 0.01, 0.05, 0.1, 0.8164966] {
        let wanted = after(&image, |image| ops::gaussian_blur(image, radius));
        for vectors in all_vectors() {
            assert_eq!(in_place(&image, |planes| transposed_blur(vectors, planes, radius)), wanted, "{radius}");
        }
    }
}

/// All 2^24 colours, at all 51 shifts of the jitter and at some that lie farther.
#[test]
fn the_hue_of_every_colour() {
    let shifts = (-25_i32..=25).chain([-127, -90, 64, 101, 127]);
    // Half a step towards the outside, as the shift is cut toward zero.
    let factors: Vec<f64> = shifts.map(|shift| (f64::from(shift) + 0.5 * f64::from(shift.signum())) / 255.0).collect();
    let reds: Vec<u8> = (0..=255).collect();
    std::thread::scope(|scope| {
        for reds in reds.chunks(64) {
            scope.spawn(|| reds.iter().for_each(|&red| hues_of(red, &factors)));
        }
    });
}

/// The hues of all colours of one red.
fn hues_of(red: u8, factors: &[f64]) {
    let colours = (0..=255_u8).flat_map(|green| (0..=255_u8).flat_map(move |blue| [red, green, blue]));
    let image = Image::new(256, 256, colours.collect()).unwrap();
    for &factor in factors {
        let wanted = after(&image, |image| ops::hue(image, factor));
        for vectors in all_vectors() {
            let found = in_place(&image, |planes| fast::hue(vectors, planes, factor));
            assert!(found == wanted, "{vectors:?}, factor {factor}, red {red}");
        }
    }
}

/// The luma and the saturation blend of every colour.
#[test]
fn the_luma_of_every_colour() {
    for vectors in all_vectors() {
        for red in 0..=255_u8 {
            let pixels = (0..=255_u8).flat_map(|green| (0..=255_u8).flat_map(move |blue| [red, green, blue])).collect();
            let image = Image::new(256, 256, pixels).unwrap();
            let found = in_place(&image, |planes| fast::grayscale(vectors, planes));
            assert!(found == after(&image, ops::grayscale), "{vectors:?}, red {red}");
        }
    }
}
