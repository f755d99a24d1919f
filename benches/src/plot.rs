//! Lines in a coordinate system, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// The values that are written on it.
    pub ticks: Vec<f64>,
    /// Whether equal ratios are equally long, rather than equal differences.
    pub is_logarithmic: bool,
}

impl Axis {
    /// How far along the axis a value is, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        if self.is_logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }
}

/// A line with its name.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its colour, as CSS writes it.
    pub color: &'static str,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines that have both axes in common.
#[derive(Debug, Clone)]
pub struct Chart {
    /// From left to right.
    pub x: Axis,
    /// From the bottom up.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Draws charts below each other.
pub fn draw(charts: &[Chart]) -> String {
    let height = HEIGHT * charts.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, chart) in charts.iter().enumerate() {
        chart.draw(&mut out, HEIGHT * number as f64);
    }
    out.push_str("</svg>\n");
    out
}

impl Chart {
    /// Writing to a String cannot fail.
    fn draw(&self, out: &mut String, top: f64) {
        let right = WIDTH - RIGHT;
        let bottom = top + HEIGHT - BOTTOM;
        let x = |value: f64| LEFT + self.x.part(value) * (right - LEFT);
        let y = |value: f64| bottom - self.y.part(value) * (bottom - top - TOP);
        for tick in &self.y.ticks {
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT},{0:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{tick}</text>",
                y(*tick),
                LEFT - 6.0,
                y(*tick) + 4.0
            );
        }
        for tick in &self.x.ticks {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
                x(*tick),
                bottom + 18.0
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16,{:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            bottom + 38.0,
            self.x.title,
            (top + TOP + bottom) / 2.0,
            self.y.title
        );
        for (number, line) in self.lines.iter().enumerate() {
            let points = line.points.iter();
            let points: Vec<String> = points
                .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
                .collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n\
                 <text x=\"{}\" y=\"{}\" fill=\"{1}\">{}</text>",
                points.join(" "),
                line.color,
                right + 8.0,
                top + TOP + 12.0 + 16.0 * number as f64,
                line.name
            );
        }
    }
}
