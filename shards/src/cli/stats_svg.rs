//! The picture of `stats --svg`: samples of each class, and how large pictures are.

use std::fmt::Write as _;

use mugs_shards::SetStats;

use super::count;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const PLOT: f64 = WIDTH - LEFT - 20.0;
const HEIGHT: f64 = 240.0;
/// Space for a title above and labels below each plot.
const ABOVE: f64 = 50.0;
const BELOW: f64 = 70.0;
/// More bars than this have no room for their names.
const NAMED: usize = 40;

/// A bar: its name and how high it is.
type Bar = (String, u64);

/// Draws both histograms, one below the other, as one SVG file.
pub(super) fn draw(stats: &SetStats) -> String {
    let mut classes: Vec<Bar> = stats.classes.iter().map(|class| (class.name.clone(), class.samples)).collect();
    let many = classes.len() > NAMED;
    if many {
        // Without names the shape is what tells: from the largest to the smallest.
        classes.sort_by_key(|class| std::cmp::Reverse(class.1));
    }
    let sides: Vec<Bar> =
        stats.short_sides.iter().enumerate().map(|(step, count)| ((step * 50).to_string(), *count)).collect();
    let mut plots = Vec::new();
    if !classes.is_empty() {
        let axis = if many { "classes, the largest first" } else { "class" };
        let (of, samples) = (count(classes.len() as u64, "class"), count(stats.samples, "sample"));
        let title = format!("samples of each class ({of}, {samples})");
        plots.push((title, axis, classes));
    }
    plots.push(("shorter side of the pictures, in steps of 50 pixels".to_string(), "pixels, from", sides));
    let height = plots.len() as f64 * (ABOVE + HEIGHT + BELOW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escape(&stats.name)
    );
    for (number, (title, axis, bars)) in plots.iter().enumerate() {
        plot(&mut svg, number as f64 * (ABOVE + HEIGHT + BELOW) + ABOVE, title, axis, bars);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws one histogram whose upper edge is at `top`. Writing to a String cannot fail.
fn plot(svg: &mut String, top: f64, title: &str, axis: &str, bars: &[Bar]) {
    let most = bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1);
    let step = tick(most);
    let highest = most.div_ceil(step) * step;
    let y = |value: u64| top + HEIGHT * (1.0 - value as f64 / highest as f64);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-size=\"16\">{}</text>", top - 20.0, escape(title));
    for value in (0..=highest).step_by(step as usize) {
        let (at, right) = (y(value), LEFT + PLOT);
        let _ = writeln!(svg, "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>");
        let (x, at) = (LEFT - 8.0, at + 4.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{at:.1}\" text-anchor=\"end\">{value}</text>");
    }
    let width = PLOT / bars.len().max(1) as f64;
    let gap = if width > 4.0 { (width * 0.15).min(6.0) } else { 0.0 };
    // As many names as can be read side by side.
    let every = if bars.len() <= NAMED && axis == "class" { 1 } else { (40.0 / width).ceil().max(1.0) as usize };
    for (number, (name, value)) in bars.iter().enumerate() {
        let (x, at) = (LEFT + number as f64 * width, y(*value));
        let (bar, height) = ((width - gap).max(0.5), top + HEIGHT - at);
        let _ = writeln!(
            svg,
            "<rect x=\"{:.2}\" y=\"{at:.2}\" width=\"{bar:.2}\" height=\"{height:.2}\" fill=\"#3b6ea8\">\
             <title>{}: {value}</title></rect>",
            x + gap / 2.0,
            escape(name)
        );
        if number % every == 0 && (bars.len() <= NAMED || axis != "classes, the largest first") {
            label(svg, x + width / 2.0, top + HEIGHT + 16.0, name, width);
        }
    }
    let (x, at) = (LEFT + PLOT / 2.0, top + HEIGHT + BELOW - 12.0);
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{at}\" text-anchor=\"middle\">{}</text>", escape(axis));
}

/// Writes a bar's name below it, aslant where it is wider than the bar.
fn label(svg: &mut String, x: f64, y: f64, name: &str, width: f64) {
    const LONGEST: usize = 12;
    let short: String = if name.chars().count() > LONGEST {
        name.chars().take(LONGEST - 1).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    let name = escape(&short);
    let _ = if short.chars().count() as f64 * 7.0 > width.max(40.0) {
        writeln!(svg, "<text transform=\"translate({x:.1} {y:.1}) rotate(-35)\" text-anchor=\"end\">{name}</text>")
    } else {
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{name}</text>")
    };
}

/// The distance of lines across: 1, 2 or 5 times a power of ten, at most five of them.
fn tick(most: u64) -> u64 {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if most <= 5 * factor * power {
                return factor * power;
            }
        }
        power *= 10;
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_across_are_round_and_few() {
        for (most, step) in [(1, 1), (5, 1), (6, 2), (10, 2), (11, 5), (25, 5), (26, 10), (1300, 500), (2501, 1000)] {
            assert_eq!(tick(most), step, "{most}");
        }
    }

    #[test]
    fn names_cannot_break_the_file() {
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
