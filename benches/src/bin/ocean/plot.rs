//! A plot of page time by distance, as SVG.

use std::fmt::Write as _;

use isthmus_benches::record::median;

use crate::Times;
use crate::page::Page;
use crate::way::Way;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// The decades of the vertical axis, in milliseconds.
const FROM: f64 = 1.0;
const TO: f64 = 100_000.0;

/// Draws the times, on a logarithmic scale.
pub(crate) fn draw(times: &[Times]) -> String {
    let farthest = times.iter().map(|times| times.round_trip_ms).max();
    let farthest = farthest.unwrap_or(1).max(1) as f64;
    let x = |round_trip: f64| LEFT + round_trip / farthest * (WIDTH - LEFT - RIGHT);
    let y = |ms: f64| {
        let part = (ms.max(FROM) / FROM).ln() / (TO / FROM).ln();
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut ms = FROM;
    while ms <= TO {
        let (y, right) = (y(ms), WIDTH - RIGHT);
        let label = if ms < 1000.0 {
            format!("{ms} ms")
        } else {
            format!("{} s", ms / 1000.0)
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<path d=\"M{LEFT},{y:.1}H{right}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
            LEFT - 6.0,
            y + 4.0
        );
        ms *= 10.0;
    }
    let mut distances: Vec<u64> = times.iter().map(|times| times.round_trip_ms).collect();
    distances.sort_unstable();
    distances.dedup();
    for distance in distances {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{distance} ms</text>",
            x(distance as f64),
            HEIGHT - BOTTOM + 18.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">to the writer and back</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    for page in Page::ALL {
        for way in Way::ALL {
            let points: Vec<(f64, f64)> = times
                .iter()
                .filter(|times| (times.page, times.way) == (page, way))
                .map(|times| {
                    (
                        x(times.round_trip_ms as f64),
                        y(median(&times.seconds) * 1000.0),
                    )
                })
                .collect();
            draw_line(&mut out, page, way, &points);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw_line(out: &mut String, page: Page, way: Way, points: &[(f64, f64)]) {
    let color = match way {
        Way::Direct => "#888",
        Way::Haproxy => "#c60",
        Way::Isthmus => "#06c",
    };
    let (dash, beside) = match page {
        Page::Mixed => ("", 0.0),
        Page::Reads => (" stroke-dasharray=\"5 4\"", 12.0),
    };
    let line: Vec<String> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dash}/>",
        line.join(" ")
    );
    // HAProxy's lines lie on the direct ones.
    let shift = if way == Way::Haproxy { 24.0 } else { 0.0 };
    if let Some((x, y)) = points.last() {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\">{}, {}</text>",
            x + 8.0,
            y + beside + shift,
            way.name(),
            page.name()
        );
    }
}
