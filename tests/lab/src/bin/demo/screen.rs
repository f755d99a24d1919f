//! What the demo shows: plain lines, with colours where somebody looks at a terminal.

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

/// How many characters of a statement are shown in a row.
pub(crate) const STATEMENT_WIDTH: usize = 58;

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    has_colours: bool,
}

/// How a text stands out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Title,
    Near,
    Far,
    Wrong,
    Quiet,
}

impl Screen {
    /// With colours only on a terminal, and not where the environment asks for none.
    pub(crate) fn new() -> Self {
        Self {
            has_colours: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// The text in a style. It is padded before, since escapes have no width.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if !self.has_colours {
            return text.to_owned();
        }
        let code = match style {
            Style::Title => "1",
            Style::Near => "32",
            Style::Far => "33",
            Style::Wrong => "1;31",
            Style::Quiet => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// `0.8 ms`, right-aligned for times up to ten seconds.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:>7.1} ms", time.as_secs_f64() * 1000.0)
}

/// The text in one line of at most `width` characters.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_statements_are_cut_and_short_ones_are_not() {
        for (text, width, expected) in [
            ("SELECT 1", 8, "SELECT 1"),
            ("SELECT  1,\n 2", 20, "SELECT 1, 2"),
            ("SELECT 12", 8, "SELECT …"),
        ] {
            assert_eq!(shortened(text, width), expected);
        }
    }
}
