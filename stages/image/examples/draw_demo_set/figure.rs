//! The ten classes, each a figure given by its signed distance function.

use std::f32::consts::PI;

/// What a picture shows, whatever its colours, light and noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Cross,
    Disc,
    Dots,
    Plaid,
    Ring,
    Square,
    Star,
    Stripes,
    Triangle,
    Waves,
}

impl Class {
    /// In the order of their names, as a reader of class folders numbers them.
    pub const ALL: [Class; 10] = [
        Class::Cross,
        Class::Disc,
        Class::Dots,
        Class::Plaid,
        Class::Ring,
        Class::Square,
        Class::Star,
        Class::Stripes,
        Class::Triangle,
        Class::Waves,
    ];

    /// The class folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Class::Cross => "cross",
            Class::Disc => "disc",
            Class::Dots => "dots",
            Class::Plaid => "plaid",
            Class::Ring => "ring",
            Class::Square => "square",
            Class::Star => "star",
            Class::Stripes => "stripes",
            Class::Triangle => "triangle",
            Class::Waves => "waves",
        }
    }

    /// Textures fill the picture, shapes lie in it.
    pub fn is_texture(self) -> bool {
        matches!(self, Class::Dots | Class::Plaid | Class::Stripes | Class::Waves)
    }

    /// The distance in pixels from (x, y) to the figure's edge, negative inside; near the edge it is exact, further
    /// off the sign is right. The figure is upright, around the origin.
    ///
    /// `area` is how much the figure covers: of a shape in pixels, of a texture as a share of the plane, up to a half.
    /// `period` is a texture's, in pixels.
    pub fn distance(self, (x, y): (f32, f32), area: f32, period: f32) -> f32 {
        match self {
            Class::Disc => length(x, y) - (area / PI).sqrt(),
            Class::Ring => ring(length(x, y), area),
            Class::Square => rectangle(x, y, area.sqrt() / 2.0, area.sqrt() / 2.0),
            Class::Triangle => triangle(x, y, area),
            Class::Cross => cross(x, y, area),
            Class::Star => star(x, y, area),
            Class::Stripes => stripe(x, area, period),
            Class::Plaid => plaid(x, y, area, period),
            Class::Dots => length(centred(x, period), centred(y, period)) - period * (area / PI).sqrt(),
            Class::Waves => wave(x, y, area, period),
        }
    }
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// `x` modulo the period, from minus half of it to half.
fn centred(x: f32, period: f32) -> f32 {
    x - period * (x / period + 0.5).floor()
}

/// The hole's radius is 0.6 of the ring's.
fn ring(radius: f32, area: f32) -> f32 {
    let outer = (area / (PI * (1.0 - 0.36))).sqrt();
    (radius - 0.8 * outer).abs() - 0.2 * outer
}

fn rectangle(x: f32, y: f32, half_width: f32, half_height: f32) -> f32 {
    (x.abs() - half_width).max(y.abs() - half_height)
}

/// Equilateral: the inner radius r gives an area of 3 sqrt(3) r².
fn triangle(x: f32, y: f32, area: f32) -> f32 {
    let inner = (area / (3.0 * 3.0_f32.sqrt())).sqrt();
    let slanted = 0.5 * 3.0_f32.sqrt() * x.abs() - 0.5 * y;
    slanted.max(y) - inner
}

/// Two bars of three to one across each other: five squares.
fn cross(x: f32, y: f32, area: f32) -> f32 {
    let half = (area / 5.0).sqrt() / 2.0;
    rectangle(x, y, half, 3.0 * half).min(rectangle(x, y, 3.0 * half, half))
}

/// Five points; the notches lie at 0.45 of the points' radius. Folded to one half of one point, the edge is a line.
fn star(x: f32, y: f32, area: f32) -> f32 {
    const NOTCH: f32 = 0.45;
    let (sine, cosine) = libm::sincosf(PI / 5.0);
    // Ten triangles with two sides of `outer` and NOTCH * outer, PI / 5 between them.
    let outer = (area / (5.0 * NOTCH * sine)).sqrt();
    let angle = centred(libm::atan2f(y, x), 2.0 * PI / 5.0).abs();
    let (fold_sine, fold_cosine) = libm::sincosf(angle);
    let (x, y) = (length(x, y) * fold_cosine, length(x, y) * fold_sine);
    let (along_x, along_y) = (NOTCH * cosine - 1.0, NOTCH * sine);
    ((x - outer) * along_y - y * along_x) / length(along_x, along_y)
}

fn stripe(x: f32, share: f32, period: f32) -> f32 {
    centred(x, period).abs() - share * period / 2.0
}

/// Two sets of stripes across each other, inside where just one of them is: at a share of a half, a checkerboard.
fn plaid(x: f32, y: f32, share: f32, period: f32) -> f32 {
    // Of each set w is inside, of both together 2 w (1 - w).
    let width = 0.5 - (0.25 - share / 2.0).sqrt();
    let (x, y) = (stripe(x, width, period), stripe(y, width, period));
    let nearest = x.abs().min(y.abs());
    if (x < 0.0) == (y < 0.0) { nearest } else { -nearest }
}

/// Stripes that swing to both sides by 0.35 of their period, once in two and a half periods.
fn wave(x: f32, y: f32, share: f32, period: f32) -> f32 {
    let (swing, turn) = (0.35 * period, 2.0 * PI / (2.5 * period));
    let (sine, cosine) = libm::sincosf(turn * y);
    stripe(x + swing * sine, share, period) / length(1.0, swing * turn * cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of a square with this half side that is inside, by 1000 x 1000 points.
    fn covered(class: Class, area: f32, period: f32, half: f32) -> f32 {
        let at = |i: u16| (f32::from(i) + 0.5) / 500.0 * half - half;
        let inside =
            (0..1000).map(|y| (0..1000).filter(|&x| class.distance((at(x), at(y)), area, period) < 0.0).count());
        inside.sum::<usize>() as f32 / 1e6
    }

    #[test]
    fn every_figure_covers_the_area_asked_for() {
        for class in Class::ALL {
            for share in [0.1, 0.25, 0.4] {
                // Textures over 5 whole periods, in which waves turn twice; shapes with room enough for a star's points.
                let got = match class.is_texture() {
                    true => covered(class, share, 4.0, 10.0),
                    false => covered(class, share * 40.0 * 40.0, 1.0, 40.0) * 4.0,
                };
                assert!((got - share).abs() < 0.01, "{} covers {got}, not {share}", class.name());
            }
        }
    }

    #[test]
    fn classes_are_in_the_order_of_their_names() {
        assert!(Class::ALL.is_sorted_by(|a, b| a.name() < b.name()));
    }
}
