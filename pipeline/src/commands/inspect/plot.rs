//! Curves in the terminal, in characters that every terminal has.

use super::chart::{Axis, Panel, at};

/// Lines of a plot, without its title and the epochs below it.
const HEIGHT: usize = 9;
/// The narrowest plot; where two do not fit side by side they go below each other.
const NARROWEST: usize = 38;
/// Room for the numbers beside a plot.
const NUMBERS: usize = 8;

/// The mark of a log's curve, the run's own first; later ones lie below earlier ones.
pub fn mark(number: usize) -> char {
    ['*', 'o', 'x', '+', '~'][number % 5]
}

/// All panels, two in a row where the width allows.
pub fn draw(panels: &[Panel], width: usize) -> String {
    let columns = if width >= 2 * NARROWEST + 2 { 2 } else { 1 };
    let each = ((width + 2) / columns - 2).clamp(NARROWEST, 100);
    let mut text = String::new();
    for row in panels.chunks(columns) {
        let plots: Vec<Vec<String>> = row.iter().map(|panel| plot(panel, each)).collect();
        for number in 0..HEIGHT + 2 {
            let line: Vec<String> = plots.iter().map(|plot| format!("{:<each$}", plot[number])).collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
    }
    text
}

/// A title, the plot, the epochs: lines of at most `width` characters.
fn plot(panel: &Panel, width: usize) -> Vec<String> {
    let columns = width - NUMBERS - 2;
    let (first, last) = panel.epochs();
    let axis = Axis::around(panel.values(), 4);
    let row = |value: f64| ((axis.high - value) / (axis.high - axis.low) * (HEIGHT - 1) as f64).round() as usize;
    let mut cells = vec![vec![' '; columns]; HEIGHT];
    for (number, curve) in panel.curves.iter().enumerate().rev() {
        // The points, and one between them for each column.
        let epoch = |column: usize| first + (last - first) * column as f64 / (columns - 1) as f64;
        let between = (0..columns).filter_map(|column| Some((epoch(column), at(curve, epoch(column))?)));
        for (epoch, value) in curve.iter().copied().chain(between) {
            let share = if last > first { (epoch - first) / (last - first) } else { 0.0 };
            let column = (share * (columns - 1) as f64).round() as usize;
            cells[row(value).min(HEIGHT - 1)][column.min(columns - 1)] = mark(number);
        }
    }
    let mut lines = vec![format!("{:>NUMBERS$}  {}", "", panel.title)];
    let ticks = axis.ticks();
    for (number, line) in cells.iter().enumerate() {
        let tick = ticks.iter().find(|tick| row(tick.0) == number);
        let (text, edge) = tick.map_or(("", '|'), |tick| (tick.1.as_str(), '+'));
        lines.push(format!("{text:>NUMBERS$} {edge}{}", line.iter().collect::<String>()));
    }
    let (from, to) = (format!("epoch {first}"), format!("{last}"));
    lines.push(format!("{:>NUMBERS$}  {from}{to:>1$}", "", columns.saturating_sub(from.len())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(curves: Vec<Vec<(f64, f64)>>) -> Panel {
        Panel { title: "total loss".into(), unit: "loss, nats", curves }
    }

    #[test]
    fn a_curve_runs_from_its_first_value_to_its_last() {
        let plot = plot(&panel(vec![vec![(0.0, 8.0), (10.0, 0.0)]]), 50);
        assert_eq!(plot[0].trim(), "total loss");
        // Of 40 columns the first three are in the highest of nine rows, and the last three in the lowest.
        assert_eq!(plot[1].trim_end(), "       8 +***");
        assert_eq!(plot[HEIGHT], format!("       0 +{}***", " ".repeat(37)));
        assert_eq!(plot[HEIGHT + 1], format!("          epoch 0{}10", " ".repeat(31)));
        assert!(plot.iter().all(|line| line.chars().count() <= 50));
    }

    #[test]
    fn another_log_has_another_mark_and_lies_below() {
        let ours = vec![(0.0, 1.0), (4.0, 1.0)];
        let theirs = vec![(0.0, 1.0), (8.0, 1.0), (8.0, 3.0)];
        let plot = plot(&panel(vec![ours, theirs]), 50).join("\n");
        let count = |mark: char| plot.matches(mark).count();
        assert_eq!(count('*'), 21, "half of the 40 columns, and the last point");
        assert!(count('o') - "total loss".matches('o').count() - "epoch".matches('o').count() >= 19, "{plot}");
    }

    #[test]
    fn one_epoch_alone_and_narrow_terminals_are_drawn_too() {
        let one = panel(vec![vec![(0.0, 3.0)]]);
        let two = [panel(vec![vec![(0.0, 3.0)]]), one];
        assert!(draw(&two, 10).lines().all(|line| line.chars().count() <= NARROWEST));
        assert_eq!(draw(&two, 10).lines().count(), 2 * (HEIGHT + 2));
        assert_eq!(draw(&two, 80).lines().count(), HEIGHT + 2);
        assert_eq!(draw(&two, 80).matches('*').count(), 2);
    }
}
