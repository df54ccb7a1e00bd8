//! What is drawn of a run, whatever it is drawn on: curves by epoch, and round numbers along an axis.

use super::log::Log;

/// A plot of one quantity.
pub struct Panel {
    /// What is shown.
    pub title: String,
    /// The quantity and its unit, along the axis.
    pub unit: &'static str,
    /// A curve per log, in their order; empty where a log lacks the quantity.
    pub curves: Vec<Vec<(f64, f64)>>,
}

impl Panel {
    /// A panel of each loss, the total first, and with `rates` of the learning rate and the weight decay.
    pub fn of(logs: &[&Log], rates: bool) -> Vec<Panel> {
        let mut keys: Vec<String> = Vec::new();
        for key in logs.iter().flat_map(|log| log.losses()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut panels: Vec<Panel> = keys.iter().map(|key| Panel::new(logs, key, &loss(key), "loss, nats")).collect();
        if rates {
            panels.push(Panel::new(logs, "lr", "learning rate", "learning rate"));
            panels.push(Panel::new(logs, "wd", "weight decay", "weight decay"));
        }
        panels.retain(|panel| panel.curves.iter().any(|curve| !curve.is_empty()));
        panels
    }

    fn new(logs: &[&Log], key: &str, title: &str, unit: &'static str) -> Panel {
        Panel { title: title.into(), unit, curves: logs.iter().map(|log| log.curve(key)).collect() }
    }

    /// The least and the greatest epoch.
    pub fn epochs(&self) -> (f64, f64) {
        self.extent(|point| point.0)
    }

    /// The least and the greatest value.
    pub fn values(&self) -> (f64, f64) {
        self.extent(|point| point.1)
    }

    fn extent(&self, of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let all = self.curves.iter().flatten().map(of);
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
    }
}

/// `instance-sup.` as people say it.
fn loss(key: &str) -> String {
    match key.strip_suffix("-sup.") {
        Some(name) => format!("{name} loss"),
        None => "total loss".into(),
    }
}

/// Round numbers around a range: 1, 2 or 5 times a power of ten apart.
pub struct Axis {
    /// The first number, at or below the range.
    pub low: f64,
    /// The last one, at or above it.
    pub high: f64,
    step: f64,
}

impl Axis {
    /// An axis of at most `most` steps, and one more where the range begins between two numbers.
    pub fn around((least, greatest): (f64, f64), most: usize) -> Axis {
        // A range that is nothing, or nothing beside its values, gets a tenth of these on either side.
        let size = least.abs().max(greatest.abs());
        let room = if size > 0.0 { size / 10.0 } else { 1.0 };
        let (least, greatest) = match greatest - least < room * 1e-5 {
            true => (least - room, greatest + room),
            false => (least, greatest),
        };
        let wanted = (greatest - least) / most as f64;
        let power = 10_f64.powf(wanted.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= wanted * 0.999_999);
        let step = step.unwrap_or(10.0 * power);
        let (low, high) = ((least / step + 1e-6).floor() * step, (greatest / step - 1e-6).ceil() * step);
        Axis { low, high, step }
    }

    /// The numbers, rising, each with its text.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        let value = |number: usize| self.low + number as f64 * self.step;
        (0..=count).map(|number| (value(number), self.text(value(number)))).collect()
    }

    /// A number of the axis with as many digits as tell it from the next.
    pub fn text(&self, value: f64) -> String {
        let exponent = |value: f64| (value.abs().log10() + 1e-9).floor() as i32;
        let decimals = (-exponent(self.step)).max(0) as usize;
        match value.abs() < self.step * 1e-6 {
            true => "0".into(),
            false if decimals <= 4 && value.abs() < 1e6 => format!("{value:.decimals$}"),
            false => format!("{value:.*e}", (exponent(value) - exponent(self.step)).max(0) as usize),
        }
    }
}

/// The value of a curve at an epoch, on the line between its points; none before the first and behind the last.
pub fn at(curve: &[(f64, f64)], epoch: f64) -> Option<f64> {
    let next = curve.partition_point(|point| point.0 < epoch);
    let (right, left) = (curve.get(next)?, curve[next.saturating_sub(1)]);
    match next {
        0 => (right.0 == epoch).then_some(right.1),
        _ => Some(left.1 + (right.1 - left.1) * (epoch - left.0) / (right.0 - left.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::log;
    use super::*;

    #[test]
    fn panels_hold_every_log_s_losses_and_rates() {
        let ours = log("{\"loss\": 4.0, \"instance-sup.\": 5.0, \"lr\": 0.5, \"epoch\": 0}\n");
        let theirs = log("{\"loss\": 3.0, \"group-sup.\": 2.0, \"epoch\": 7}\n");
        let panels = Panel::of(&[&ours, &theirs], true);
        let titles: Vec<&str> = panels.iter().map(|panel| &*panel.title).collect();
        assert_eq!(titles, ["total loss", "instance loss", "group loss", "learning rate"]);
        assert_eq!(panels[0].curves, [vec![(0.0, 4.0)], vec![(7.0, 3.0)]]);
        assert_eq!((panels[0].epochs(), panels[0].values()), ((0.0, 7.0), (3.0, 4.0)));
        assert_eq!(panels[2].curves, [vec![], vec![(7.0, 2.0)]]);
    }

    #[test]
    fn axes_have_round_numbers_around_the_range() {
        let texts = |range, most| -> Vec<String> {
            Axis::around(range, most).ticks().into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(texts((0.0, 9.0), 5), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts((3.81, 4.64), 5), ["3.8", "4.0", "4.2", "4.4", "4.6", "4.8"]);
        assert_eq!(texts((0.0, 8.0e-4), 4), ["0", "0.0002", "0.0004", "0.0006", "0.0008"]);
        assert_eq!(texts((1.0e-6, 3.0e-6), 4), ["1.0e-6", "1.5e-6", "2.0e-6", "2.5e-6", "3.0e-6"]);
        assert_eq!(texts((-3.0, 21.0), 5), ["-5", "0", "5", "10", "15", "20", "25"]);
        // One value alone lies inside its axis.
        assert_eq!(texts((3.0, 3.0), 4), ["2.6", "2.8", "3.0", "3.2", "3.4"]);
        assert_eq!(texts((0.0, 0.0), 4), ["-1.0", "-0.5", "0", "0.5", "1.0"]);
    }

    #[test]
    fn a_curve_is_joined_between_its_points_alone() {
        let curve = [(2.0, 10.0), (4.0, 20.0)];
        let values: Vec<Option<f64>> = [1.9, 2.0, 2.5, 4.0, 4.1].into_iter().map(|epoch| at(&curve, epoch)).collect();
        assert_eq!(values, [None, Some(10.0), Some(12.5), Some(20.0), None]);
        assert_eq!(at(&[], 0.0), None);
    }
}
