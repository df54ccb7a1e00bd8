//! Curves as an SVG file.

use std::fmt::Write as _;

use super::chart::{Axis, Panel};

/// The extent of one panel, and the room for numbers and words around its plot.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const ABOVE: f64 = 34.0;
const BELOW: f64 = 46.0;
/// Panels in a row.
const COLUMNS: usize = 2;
/// Height of a line of the legend.
const LINE: f64 = 20.0;
/// Curves of more points than this have no dots.
const DOTTED: usize = 60;

/// Colour and dashes of each log's curve, so that they differ in print too.
const STYLES: [(&str, &str); 5] =
    [("#2b6cb0", "none"), ("#dd6b20", "6 3"), ("#2f855a", "2 3"), ("#805ad5", "8 3 2 3"), ("#718096", "4 4")];

/// The file: a legend, and below it the panels.
pub fn draw(title: &str, names: &[&str], panels: &[Panel]) -> String {
    let top = 44.0 + LINE * names.len() as f64;
    let (width, height) = (WIDTH * COLUMNS as f64, top + HEIGHT * panels.len().div_ceil(COLUMNS) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>{0}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"28\" font-size=\"16\">{0}</text>\n",
        escape(title)
    );
    for (number, name) in names.iter().enumerate() {
        let y = 44.0 + LINE * number as f64;
        let (x, end, words) = (LEFT, LEFT + 30.0, LEFT + 38.0);
        let _ = writeln!(svg, "<path d=\"M{x} {y}H{end}\" {}/>", stroke(number));
        let _ = writeln!(svg, "<text x=\"{words}\" y=\"{}\">{}</text>", y + 4.0, escape(name));
    }
    for (number, panel) in panels.iter().enumerate() {
        let (left, above) = ((number % COLUMNS) as f64 * WIDTH, top + (number / COLUMNS) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({left} {above})\">");
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Writing to a String cannot fail.
fn draw_panel(svg: &mut String, panel: &Panel) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BELOW);
    let (across, up) = (Axis::around(panel.epochs(), 6), Axis::around(panel.values(), 5));
    let x = |epoch: f64| LEFT + (epoch - across.low) / (across.high - across.low) * (right - LEFT);
    let y = |value: f64| bottom - (value - up.low) / (up.high - up.low) * (bottom - ABOVE);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-size=\"14\">{}</text>", ABOVE - 12.0, escape(&panel.title));
    for (value, text) in up.ticks() {
        let at = y(value);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, at + 4.0);
    }
    // Half epochs do not exist.
    for (epoch, text) in across.ticks().into_iter().filter(|(epoch, _)| *epoch >= 0.0 && epoch.fract().abs() < 1e-6) {
        let at = x(epoch);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {bottom}v4\" stroke=\"#888\"/>");
        let text = text.split('.').next().unwrap_or_default();
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 18.0);
    }
    let middle = (ABOVE + bottom) / 2.0;
    let _ = writeln!(svg, "<path d=\"M{LEFT} {ABOVE}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>");
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">epoch</text>\n\
         <text transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + right) / 2.0,
        bottom + 36.0,
        escape(panel.unit)
    );
    // The run's own curve last, on top.
    for (number, curve) in panel.curves.iter().enumerate().rev() {
        let points: Vec<(f64, f64)> = curve.iter().map(|point| (x(point.0), y(point.1))).collect();
        draw_curve(svg, number, &points, curve);
    }
}

fn draw_curve(svg: &mut String, number: usize, places: &[(f64, f64)], values: &[(f64, f64)]) {
    if places.len() > 1 {
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(svg, "<path d=\"M{}\" {}/>", path.join("L"), stroke(number));
    }
    if places.len() <= DOTTED {
        let colour = style(number).0;
        for ((x, y), (epoch, value)) in places.iter().zip(values) {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"><title>epoch {epoch}: {value}</title></circle>"
            );
        }
    }
}

fn style(number: usize) -> (&'static str, &'static str) {
    STYLES[number % STYLES.len()]
}

fn stroke(number: usize) -> String {
    let (colour, dashes) = style(number);
    format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_legend_axes_with_units_and_a_curve_per_log() {
        let panel = Panel {
            title: "total loss".into(),
            unit: "loss, nats",
            curves: vec![vec![(0.0, 4.0), (10.0, 2.0)], vec![(0.0, 3.0)]],
        };
        let svg = draw("runs/<a>", &["runs/<a>", "log.txt"], &[panel]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for part in
            ["runs/&lt;a&gt;</text>", ">log.txt</text>", ">epoch</text>", ">loss, nats</text>", ">total loss</text>"]
        {
            assert!(svg.contains(part), "{part}");
        }
        // Plot from (72, 34) to (464, 234); epochs 0 to 10, values 2 to 4.
        assert!(svg.contains("<path d=\"M72.0 34.0L464.0 234.0\" fill=\"none\" stroke=\"#2b6cb0\""), "{svg}");
        assert!(svg.contains("cx=\"72.0\" cy=\"134.0\" r=\"2.5\" fill=\"#dd6b20\"><title>epoch 0: 3</title>"), "{svg}");
        assert!(svg.contains(">2.5</text>") && svg.contains(">10</text>"));
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }
}
