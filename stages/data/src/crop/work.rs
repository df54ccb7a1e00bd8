//! What a strong crop asks to be done to the picture, and which part of it each step reads.

use mugs_image::fast::{Window, source_window};
use mugs_image::ops::{self, Matrix};

use super::plan::{JitterStep, Operator, StrongCrop};

/// A step on the way from the picture to the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// A table for each channel.
    LookUp(LookUp),
    Saturation(f32),
    Hue(f64),
    Grayscale,
    Sharpness(f32),
    Map(Matrix, ops::Resample),
    /// A half turn, or a quarter turn of a square, which move pixels exactly.
    Turn(f64),
}

/// A step that is a table, some of them by statistics of the whole picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LookUp {
    AutoContrast,
    Equalize,
    Contrast(f32),
    Invert,
    Posterize(u32),
    Solarize(i32),
    SolarizeAdd(i32),
    Brightness(f32),
}

impl LookUp {
    /// Whether it follows from the counts of each channel's values.
    pub fn needs_counts(self) -> bool {
        matches!(self, Self::AutoContrast | Self::Equalize)
    }

    fn needs_statistics(self) -> bool {
        self.needs_counts() || matches!(self, Self::Contrast(_))
    }
}

/// The steps of a strong crop of a picture of `width` x `height`.
pub(super) fn steps(plan: &StrongCrop, width: usize, height: usize, out: &mut Vec<Step>) {
    out.clear();
    out.extend(plan.ops.iter().filter_map(|operator| step(operator, width, height)));
    out.extend(plan.jitter.iter().flatten().map(|step| match *step {
        JitterStep::Brightness(factor) => Step::LookUp(LookUp::Brightness(factor)),
        JitterStep::Contrast(factor) => Step::LookUp(LookUp::Contrast(factor)),
        JitterStep::Saturation(factor) => Step::Saturation(factor),
        JitterStep::Hue(factor) => Step::Hue(factor.into()),
    }));
    if plan.gray {
        out.push(Step::Grayscale);
    }
}

/// An operator as a step; none if it changes nothing.
fn step(operator: &Operator, width: usize, height: usize) -> Option<Step> {
    let table = |look_up| Some(Step::LookUp(look_up));
    let map = |matrix, resample: super::plan::Resample| Some(Step::Map(matrix, resample.into()));
    match *operator {
        Operator::AutoContrast {} => table(LookUp::AutoContrast),
        Operator::Equalize {} => table(LookUp::Equalize),
        Operator::Invert {} => table(LookUp::Invert),
        Operator::Posterize { bits } => table(LookUp::Posterize(bits.into())),
        Operator::Solarize { thresh } => table(LookUp::Solarize(thresh.into())),
        Operator::SolarizeAdd { add } => table(LookUp::SolarizeAdd(add.into())),
        Operator::Contrast { factor } => table(LookUp::Contrast(factor as f32)),
        Operator::Brightness { factor } => table(LookUp::Brightness(factor as f32)),
        Operator::Color { factor } => Some(Step::Saturation(factor as f32)),
        Operator::Sharpness { factor } => Some(Step::Sharpness(factor as f32)),
        Operator::ShearX { factor, resample } => map([1.0, factor, 0.0, 0.0, 1.0, 0.0], resample),
        Operator::ShearY { factor, resample } => map([1.0, 0.0, 0.0, factor, 1.0, 0.0], resample),
        Operator::TranslateXRel { pct, resample } => map([1.0, 0.0, pct * width as f64, 0.0, 1.0, 0.0], resample),
        Operator::TranslateYRel { pct, resample } => map([1.0, 0.0, 0.0, 0.0, 1.0, pct * height as f64], resample),
        Operator::Rotate { degrees, resample } => {
            let angle = degrees.rem_euclid(360.0);
            if angle == 0.0 {
                None
            } else if angle == 180.0 || (width == height && (angle == 90.0 || angle == 270.0)) {
                Some(Step::Turn(degrees))
            } else {
                map(ops::rotation(width, height, degrees), resample)
            }
        }
    }
}

/// The part of its input that each step must find, and last the crop itself. Windows are those of the turned picture
/// of `rows` x `columns`.
pub(super) fn windows(steps: &[Step], crop: Window, rows: usize, columns: usize, out: &mut Vec<Window>) {
    out.clear();
    out.resize(steps.len() + 1, crop);
    let whole = Window::whole(rows, columns);
    for number in (0..steps.len()).rev() {
        let after = &out[number + 1];
        out[number] = match &steps[number] {
            Step::Map(matrix, _) => source_window(matrix, rows, columns, after),
            Step::Sharpness(_) => Window {
                rows: after.rows.start.saturating_sub(1)..(after.rows.end + 1).min(rows),
                columns: after.columns.start.saturating_sub(1)..(after.columns.end + 1).min(columns),
            },
            Step::Turn(_) => whole.clone(),
            Step::LookUp(look_up) if sees_all(steps, number, *look_up) => whole.clone(),
            _ => after.clone(),
        };
    }
}

/// Whether a step must look at the whole picture as the steps before left it. Counts follow through tables; a mean luma
/// does not.
fn sees_all(steps: &[Step], number: usize, look_up: LookUp) -> bool {
    let before = &steps[..number];
    let only_tables = before.iter().all(|step| matches!(step, Step::LookUp(_)));
    look_up.needs_statistics() && !(only_tables && (look_up.needs_counts() || before.is_empty()))
}
