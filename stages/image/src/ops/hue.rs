//! Hue rotation through 8-bit HSV, as Pillow converts (after colorsys). The round trip alone changes pixels.

use std::sync::LazyLock;

use crate::Image;

/// Rotates the hue by `factor` of the full circle, -0.5 to 0.5. Factor 0 still makes the round trip through HSV.
pub fn hue(image: &mut Image, factor: f64) {
    let shift = (factor * 255.0) as i32 as u8;
    let sectors = &*SECTORS;
    let saturations = &*SATURATIONS;
    for colour in image.colours_mut() {
        let [hue, saturation, value] = to_hsv(*colour);
        if saturation == 0 {
            *colour = [value; 3];
            continue;
        }
        *colour = to_rgb(&sectors[usize::from(hue.wrapping_add(shift))], saturations[usize::from(saturation)], value);
    }
}

/// A hue as the sector of the colour circle it lies in, and how far.
#[derive(Clone, Copy)]
struct Sector {
    /// 0 to 5, from red over yellow, green, cyan, blue and magenta.
    index: u8,
    /// 0 to 1, an f32 widened.
    fraction: f64,
}

static SECTORS: LazyLock<[Sector; 256]> = LazyLock::new(|| {
    std::array::from_fn(|hue| {
        let angle = hue as f64 * 6.0 / 255.0;
        let whole = angle.floor();
        Sector { index: whole as u8 % 6, fraction: f64::from((angle - whole) as f32) }
    })
});

/// Saturations as f32 fractions of 255, widened.
static SATURATIONS: LazyLock<[f64; 256]> =
    LazyLock::new(|| std::array::from_fn(|saturation| f64::from((saturation as f64 / 255.0) as f32)));

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
    if low == high {
        return [0, 0, high];
    }
    let range = f32::from(high - low);
    let saturation = range / f32::from(high);
    let distance = |value: u8| f32::from(high - value) / range;
    let (rc, gc, bc) = (distance(r), distance(g), distance(b));
    let sixths = if r == high {
        bc - gc
    } else if g == high {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    // Between 5/6 and 11/6: the remainder by 1 is what is left of the whole number, exactly.
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let turns = if turns >= 1.0 { turns - 1.0 } else { turns } as f32;
    [(f64::from(turns) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, high]
}

fn to_rgb(sector: &Sector, saturation: f64, value: u8) -> [u8; 3] {
    let full = f64::from(value);
    let fraction = sector.fraction;
    let p = round(full * (1.0 - saturation));
    let q = round(full * (1.0 - saturation * fraction));
    let t = round(full * (1.0 - saturation * (1.0 - fraction)));
    match sector.index {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

/// Rounds a value from 0 to 255 half up.
fn round(value: f64) -> u8 {
    let whole = value as u8;
    // Adding 0.5 first would round the number just below one half up.
    if value - f64::from(whole) >= 0.5 { whole.saturating_add(1) } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_turn_by_thirds() {
        let mut image = Image::new(3, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap();
        hue(&mut image, 85.0 / 255.0);
        assert_eq!(image.pixels, [0, 255, 0, 0, 0, 255, 255, 0, 0]);
    }

    #[test]
    fn grays_stay() {
        for value in 0..=255 {
            let mut image = Image::filled(1, 1, [value; 3]);
            hue(&mut image, 0.3);
            assert_eq!(image.pixel(0, 0), [value; 3]);
        }
    }

    #[test]
    fn rounding_is_half_up_and_saturates() {
        assert_eq!([round(0.5), round(0.499_999_999_999_999_94), round(254.5), round(255.0)], [1, 0, 255, 255]);
    }
}
