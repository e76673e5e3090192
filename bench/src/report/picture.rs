//! Pictures (SVG): curves over time, and bars beside each other.

use std::fmt::Write;

use super::escape::escaped;

/// Size of a picture, in its own units.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 220.0;
/// Room for the words beside it.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 24.0;
/// Height of a bar, and of the row that it is in.
const BAR: f64 = 22.0;
const ROW: f64 = 36.0;
/// Room for the names of bars, and for their figures.
const NAMES: f64 = 200.0;
const FIGURES: f64 = 90.0;

/// Colours of the curves, in turn; bars have the first, and their spans the second.
const COLOURS: [&str; 6] = ["#1668a8", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#0f766e"];

/// One curve: values at equal distances.
pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: Vec<f64>,
}

/// One bar, with the span that its value is the middle of.
pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

fn colour(number: usize) -> &'static str {
    COLOURS.iter().cycle().nth(number % COLOURS.len()).copied().unwrap_or("currentColor")
}

/// Returns a picture of curves over `seconds`, from zero up.
pub(crate) fn picture(curves: &[Curve<'_>], seconds: f64) -> String {
    let points = curves.iter().map(|curve| curve.values.len()).max().unwrap_or_default();
    let top =
        round_up(curves.iter().flat_map(|curve| curve.values.iter().copied()).fold(0.0, f64::max));
    let x = |point: usize| LEFT + (WIDTH - LEFT) * point as f64 / (points.max(2) - 1) as f64;
    let y = |value: f64| (HEIGHT - BOTTOM) * (1.0 - value / top) + 8.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", HEIGHT + 8.0);
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let height = y(value);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"currentColor\" opacity=\".15\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            height + 4.0,
            label(value)
        );
    }
    for (number, curve) in curves.iter().enumerate() {
        let points: String =
            curve.values.iter().enumerate().fold(String::new(), |mut points, (point, value)| {
                let _ = write!(points, "{:.1},{:.1} ", x(point), y(*value));
                points
            });
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" style=\"fill:{colour}\">{}</text>",
            LEFT + 8.0 + 110.0 * number as f64,
            HEIGHT + 2.0,
            escaped(curve.name),
            colour = colour(number)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{WIDTH}\" y=\"{:.0}\" text-anchor=\"end\">{} s</text></svg>",
        HEIGHT + 2.0,
        if seconds < 10.0 { format!("{seconds:.1}") } else { format!("{seconds:.0}") }
    );
    svg
}

/// Bars from zero up, as long as their values.
pub(crate) fn bars(bars: &[Bar<'_>]) -> String {
    let top = round_up(bars.iter().map(|bar| bar.most.max(bar.value)).fold(0.0, f64::max));
    let x = |value: f64| NAMES + (WIDTH - NAMES - FIGURES) * (value / top).clamp(0.0, 1.0);
    let height = ROW * bars.len() as f64;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for (number, bar) in bars.iter().enumerate() {
        let middle = ROW * (number as f64 + 0.5);
        // Writing to a String does not fail.
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"{}\" stroke-width=\"3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAMES - 8.0,
            middle + 4.0,
            escaped(bar.name),
            middle - BAR / 2.0,
            x(bar.value) - NAMES,
            colour(0),
            x(bar.least),
            x(bar.most),
            colour(1),
            x(bar.most.max(bar.value)) + 8.0,
            middle + 4.0,
            label(bar.value)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// The next of 1, 2, 5, 10, 20, … that is not below.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * unit)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(value)
}

fn label(value: f64) -> String {
    if value >= 1000.0 { format!("{:.1} k", value / 1000.0) } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_picture_is_a_round_number_that_holds_all_values() {
        for (value, top) in
            [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (4200.0, 5000.0), (5001.0, 10_000.0)]
        {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn a_picture_draws_every_value_of_every_curve() {
        let curve = |values: &[f64]| Curve { name: "a<b", values: values.to_vec() };
        let svg = picture(&[curve(&[1.0, 2.0, 3.0]), curve(&[0.0, 0.0, 0.0])], 3.0);
        assert_eq!(svg.matches("<polyline").count(), 2);
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(points.unwrap().split_whitespace().count(), 3);
        assert!(svg.contains("a&lt;b") && svg.contains(">3.0 s<"), "{svg}");
        // Nothing measured is an empty picture, not a failure.
        assert!(picture(&[curve(&[])], 0.0).contains("<svg"));
    }

    #[test]
    fn the_longest_bar_ends_before_its_figure() {
        let bar = |value: f64| Bar { name: "a<b", value, least: 0.0, most: value };
        let svg = bars(&[bar(100.0), bar(50.0)]);
        assert!(svg.contains("width=\"510.0\"") && svg.contains("width=\"255.0\""), "{svg}");
        assert!(svg.contains("a&lt;b"), "{svg}");
    }
}
