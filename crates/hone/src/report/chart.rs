//! The loss curves of a run as one SVG drawing.
//!
//! Drawn here rather than by a script, so that the page works from a mail attachment, with scripts off, in ten years.
//! Colours are CSS variables of the page: the drawing follows light and dark by itself.

use std::fmt::Write;

/// A step and the loss there, in nats per supervised token.
pub type Point = (usize, f64);

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// Draws training loss (each step faint, smoothed strong) and validation loss. `None` when there is nothing finite to draw.
pub fn loss_chart(train: &[Point], valid: &[Point]) -> Option<String> {
    let frame = Frame::around(train.iter().chain(valid))?;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Loss over steps">{}"#,
        frame.axes()
    );
    let write = |svg: &mut String, class: &str, points: &[Point]| {
        let _ = write!(
            svg,
            r#"<polyline class="{class}" points="{}"/>"#,
            frame.path(points)
        );
    };
    write(&mut svg, "train-raw", train);
    write(&mut svg, "train", &smooth(train));
    write(&mut svg, "valid", valid);
    for &(step, loss) in valid.iter().filter(|(_, loss)| loss.is_finite()) {
        let (x, y) = frame.place((step, loss));
        let _ = write!(
            svg,
            r#"<circle class="valid-dot" cx="{x:.1}" cy="{y:.1}" r="3"><title>step {step}: {loss:.4}</title></circle>"#
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// Exponential mean over about a thirtieth of the run, corrected for its start.
fn smooth(points: &[Point]) -> Vec<Point> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 30.0).max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let finite = points.iter().filter(|(_, loss)| loss.is_finite());
    finite
        .map(|&(step, loss)| {
            sum = keep * sum + loss;
            weight = keep * weight + 1.0;
            (step, sum / weight)
        })
        .collect()
}

/// The mapping from steps and losses to the drawing.
struct Frame {
    last_step: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn around<'a>(points: impl Iterator<Item = &'a Point>) -> Option<Self> {
        let finite: Vec<&Point> = points.filter(|(_, loss)| loss.is_finite()).collect();
        let last_step = finite.iter().map(|(step, _)| *step).max()? as f64;
        let low = finite
            .iter()
            .map(|(_, loss)| *loss)
            .fold(f64::INFINITY, f64::min);
        let high = finite
            .iter()
            .map(|(_, loss)| *loss)
            .fold(f64::NEG_INFINITY, f64::max);
        let margin = ((high - low) * 0.06).max(0.01);
        Some(Self {
            last_step: last_step.max(1.0),
            low: (low - margin).max(0.0),
            high: high + margin,
        })
    }

    fn place(&self, (step, loss): Point) -> (f64, f64) {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * step as f64 / self.last_step;
        let y = TOP + (HEIGHT - TOP - BOTTOM) * (self.high - loss) / (self.high - self.low);
        (x, y)
    }

    fn path(&self, points: &[Point]) -> String {
        let finite = points.iter().filter(|(_, loss)| loss.is_finite());
        let places = finite.map(|&point| self.place(point));
        places
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn axes(&self) -> String {
        let mut svg = String::new();
        for tick in ticks(self.low, self.high) {
            let (_, y) = self.place((0, tick));
            let (end, text) = (WIDTH - RIGHT, LEFT - 8.0);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{end}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{text}" y="{:.1}" text-anchor="end">{}</text>"#,
                y + 4.0,
                shorten(tick)
            );
        }
        for tick in ticks(0.0, self.last_step)
            .into_iter()
            .filter(|tick| tick.fract() == 0.0)
        {
            let (x, _) = self.place((tick as usize, 0.0));
            let y = HEIGHT - BOTTOM + 18.0;
            let _ = write!(
                svg,
                r#"<text class="tick" x="{x:.1}" y="{y}" text-anchor="middle">{tick}</text>"#
            );
        }
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 4.0);
        let _ = write!(
            svg,
            r#"<text class="tick" x="{middle}" y="{bottom}" text-anchor="middle">step</text>"#
        );
        svg
    }
}

/// Round numbers between two bounds, about five of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = ((high - low) / 5.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    // Multiplied, not added up: a tick at 0.3 is not shown as 0.30000000000000004.
    (first..=last)
        .map(|i| (i as f64 * step * 1e9).round() / 1e9)
        .collect()
}

fn shorten(tick: f64) -> String {
    let text = format!("{tick:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(1.13, 1.61), [1.2, 1.3, 1.4, 1.5, 1.6]);
    }

    #[test]
    fn every_finite_point_lies_inside_the_drawing() {
        let points = [(1, 4.0), (50, f64::NAN), (100, 0.5)];
        let frame = Frame::around(points.iter()).unwrap();
        for point in [points[0], points[2]] {
            let (x, y) = frame.place(point);
            assert!(
                (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y),
                "{x} {y}"
            );
        }
        assert!(!loss_chart(&points, &[]).unwrap().contains("NaN"));
    }

    #[test]
    fn a_smoothed_constant_is_that_constant() {
        let flat: Vec<Point> = (1..=100).map(|step| (step, 2.0)).collect();
        assert!(
            smooth(&flat)
                .iter()
                .all(|(_, loss)| (loss - 2.0).abs() < 1e-12)
        );
    }

    #[test]
    fn nothing_to_draw_is_no_drawing() {
        assert_eq!(loss_chart(&[], &[]), None);
        assert_eq!(loss_chart(&[(1, f64::NAN)], &[]), None);
    }
}
