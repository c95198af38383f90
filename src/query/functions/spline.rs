//! The natural cubic spline through the points of a timeseries.

use super::series::span;

/// A spline; empty for a series of fewer than three points, where it is undefined.
pub(super) struct Spline {
    times: Vec<i64>,
    values: Vec<f64>,
    /// The second derivative at each point.
    bends: Vec<f64>,
}

impl Spline {
    /// The spline whose ends are straight. Solves the usual tridiagonal system by forward elimination.
    pub(super) fn natural(times: &[i64], values: &[f64]) -> Self {
        let n = times.len();
        if n < 3 {
            return Self { times: vec![], values: vec![], bends: vec![] };
        }
        let steps: Vec<f64> = times.windows(2).map(|pair| span(pair[0], pair[1])).collect();
        let slopes: Vec<f64> =
            values.windows(2).zip(&steps).map(|(pair, step)| (pair[1] - pair[0]) / step).collect();
        let (mut upper, mut right) = (vec![0.0; n], vec![0.0; n]);
        for i in 1..n - 1 {
            let diagonal = 2.0 * (steps[i - 1] + steps[i]) - steps[i - 1] * upper[i - 1];
            upper[i] = steps[i] / diagonal;
            right[i] = (6.0 * (slopes[i] - slopes[i - 1]) - steps[i - 1] * right[i - 1]) / diagonal;
        }
        let mut bends = vec![0.0; n];
        for i in (1..n - 1).rev() {
            bends[i] = right[i] - upper[i] * bends[i + 1];
        }
        Self { times: times.to_vec(), values: values.to_vec(), bends }
    }

    /// The value at `time`; nothing outside the series.
    pub(super) fn at(&self, time: i64) -> Option<f64> {
        let after = match self.times.binary_search(&time) {
            Ok(exact) => return self.values.get(exact).copied(),
            Err(after) => after,
        };
        let before = after.checked_sub(1)?;
        let (start, end) = (*self.times.get(before)?, *self.times.get(after)?);
        let step = span(start, end);
        let (a, b) = (span(time, end) / step, span(start, time) / step);
        let bend = (a.powi(3) - a) * self.bends[before] + (b.powi(3) - b) * self.bends[after];
        Some(a * self.values[before] + b * self.values[after] + bend * step * step / 6.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spline_goes_through_its_points_and_keeps_a_line_straight() {
        let spline = Spline::natural(&[0, 10, 20, 40], &[0.0, 1.0, 2.0, 4.0]);
        for (time, value) in [(0, 0.0), (5, 0.5), (20, 2.0), (33, 3.3)] {
            assert!((spline.at(time).expect("inside") - value).abs() < 1e-12, "{time}");
        }
        assert_eq!(spline.at(-1), None);
        assert_eq!(spline.at(41), None);
    }

    #[test]
    fn the_spline_bends_as_computed_by_hand() {
        // Three points 0, 1, 0 one apart: the middle bends by -3, so at one half the value is 11/16.
        let spline = Spline::natural(&[0, 2, 4], &[0.0, 1.0, 0.0]);
        assert!((spline.at(1).expect("inside") - 0.6875).abs() < 1e-12);
    }
}
