//! A figure with its place, colours, light and noise: all drawn without regard to the class.

use std::f32::consts::PI;

use mugs_image::{Image, ShapeError};
use mugs_random::Draws;

use crate::figure::Class;

/// Width and height of a picture in pixels.
const SIDE: usize = 64;

/// The least difference in brightness between figure and ground, of 255.
const CONTRAST: f32 = 70.0;

/// The most by which a figure is turned to either side, in radians.
const TURN: f32 = 0.3;

/// The most by which a channel differs from gray, of 255.
const TINT: f32 = 20.0;

/// Everything about a picture but its noise.
pub struct Scene {
    class: Class,
    centre: (f32, f32),
    /// Sine and cosine of the rotation.
    turn: (f32, f32),
    area: f32,
    period: f32,
    ground: [f32; 3],
    figure: [f32; 3],
    /// How much brighter, as a factor less one, a pixel is that lies one pixel further to the right, or down.
    light: (f32, f32),
    /// Standard deviation of the noise, of 255.
    noise: f32,
}

impl Scene {
    pub fn draw(class: Class, draws: &mut Draws) -> Scene {
        let middle = SIDE as f32 / 2.0;
        let share = draws.range_f32(0.2, 0.4);
        let centre = (middle + draws.range_f32(-6.0, 6.0), middle + draws.range_f32(-6.0, 6.0));
        let turn = libm::sincosf(draws.range_f32(-TURN, TURN));
        let period = draws.range_f32(10.0, 20.0);
        let (ground, figure) = colours(draws);
        let (down, right) = libm::sincosf(draws.range_f32(0.0, 2.0 * PI));
        let slope = draws.range_f32(0.0, 0.35) / middle;
        // A texture covers all of the picture in parts, a shape a part of it.
        let area = if class.is_texture() { share } else { share * (SIDE * SIDE) as f32 };
        let light = (right * slope, down * slope);
        Scene { class, centre, turn, area, period, ground, figure, light, noise: draws.range_f32(2.0, 12.0) }
    }

    /// Renders with the noise of `draws`, and edges softened over a pixel.
    pub fn render(&self, draws: &mut Draws) -> Result<Image, ShapeError> {
        let mut noise = vec![0.0; SIDE * SIDE * 3];
        draws.fill_normal_f32(&mut noise);
        let mut pixels = Vec::with_capacity(noise.len());
        for (place, noise) in noise.chunks_exact(3).enumerate() {
            let colour = self.colour((place % SIDE) as f32 + 0.5, (place / SIDE) as f32 + 0.5);
            pixels.extend(colour.iter().zip(noise).map(|(c, n)| (c + self.noise * n).round() as u8));
        }
        Image::new(SIDE, SIDE, pixels)
    }

    /// The colour at a point, before noise.
    fn colour(&self, x: f32, y: f32) -> [f32; 3] {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (sine, cosine) = self.turn;
        let upright = (cosine * dx + sine * dy, cosine * dy - sine * dx);
        let cover = (0.5 - self.class.distance(upright, self.area, self.period)).clamp(0.0, 1.0);
        let middle = SIDE as f32 / 2.0;
        let light = 1.0 + (x - middle) * self.light.0 + (y - middle) * self.light.1;
        std::array::from_fn(|c| light * (self.ground[c] + cover * (self.figure[c] - self.ground[c])))
    }
}

/// Two random colours that differ in brightness: of the ground, then of the figure. They are muted: strong colours would
/// tell one picture from another, and a network that is asked to do so would look at nothing else.
fn colours(draws: &mut Draws) -> ([f32; 3], [f32; 3]) {
    loop {
        let [ground, figure] = [(); 2].map(|()| {
            let gray = draws.range_f32(25.0, 230.0);
            [(); 3].map(|()| gray + draws.range_f32(-TINT, TINT))
        });
        if (brightness(ground) - brightness(figure)).abs() >= CONTRAST {
            return (ground, figure);
        }
    }
}

/// Luma as JPEG defines it (ITU-R BT.601).
fn brightness([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

#[cfg(test)]
mod tests {
    use mugs_random::Address;

    use super::*;

    fn picture(class: Class, position: u64) -> Image {
        let mut draws = Draws::at(5, Address { epoch: 0, position, lane: 0 });
        Scene::draw(class, &mut draws).render(&mut draws).unwrap()
    }

    #[test]
    fn equal_draws_give_equal_pictures() {
        for class in Class::ALL {
            assert_eq!(picture(class, 1), picture(class, 1));
            assert_ne!(picture(class, 1), picture(class, 2));
        }
    }

    #[test]
    fn the_colours_do_not_depend_on_the_class() {
        let scene = |class| Scene::draw(class, &mut Draws::at(5, Address { epoch: 0, position: 3, lane: 0 }));
        let (disc, waves) = (scene(Class::Disc), scene(Class::Waves));
        assert_eq!((disc.ground, disc.figure), (waves.ground, waves.figure));
        assert!((brightness(disc.ground) - brightness(disc.figure)).abs() >= CONTRAST);
    }
}
