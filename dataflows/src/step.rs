//! A step of a series away from a level, and how much of it counts: what the views of spikes and of shifts have in common.

/// A step counts as at most so many times what it ends up off by: one that leads back to what is expected, and a little beyond, is a return.
pub const OVERSHOOT: f64 = 16.0;
/// A series that was so many usual deviations off, and steps past what is expected by no more than one, has returned: what counts is by how much it is off
/// now. Among the peaks it is filed as what it is.
const FAR: f64 = 3.0;
/// A step counts as at most so many scales: the top of the histogram of peaks.
const STEP_MAX: f64 = 300.0;

/// A step of a series from some level, in the metric's unit.
pub(crate) struct Step {
    /// To where.
    pub(crate) by: f64,
    /// How far such a step usually is.
    pub(crate) scale: f64,
    /// How far that level was from the slow one.
    pub(crate) was_off: f64,
}

/// What is seen of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// In its scale, as far as it leads away from the slow level.
    pub(crate) peak: f64,
    /// The same, as far as it counts.
    pub(crate) counts: f64,
    /// Whether it has come back from a deviation, and gone past the slow level by no more than it usually does.
    pub(crate) is_return: bool,
}

impl Step {
    /// What of it leads away from the slow level, from which it ends up `residual` off.
    pub(crate) fn seen(&self, residual: f64, slow_scale: f64) -> Seen {
        let leads_away = residual * self.by > 0.0;
        let step = self.by.abs().min(OVERSHOOT * residual.abs());
        let peak = if leads_away { (step / self.scale).min(STEP_MAX) } else { 0.0 };
        let is_return = leads_away && self.was_off.abs() > FAR * slow_scale && residual.abs() <= slow_scale;
        let counts = if is_return { peak.min(residual.abs() / slow_scale) } else { peak };
        Seen { peak, counts, is_return }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_back_is_nothing_and_what_overshoots_counts_by_where_it_ends() {
        let step = |by, was_off| Step { by, scale: 2.0, was_off };
        assert_eq!(step(-10.0, 12.0).seen(2.0, 1.0), Seen { peak: 0.0, counts: 0.0, is_return: false });
        assert_eq!(step(10.0, 0.0).seen(10.0, 1.0), Seen { peak: 5.0, counts: 5.0, is_return: false });
        assert_eq!(step(-10.0, 9.5).seen(-0.5, 1.0), Seen { peak: 4.0, counts: 0.5, is_return: true });
        assert_eq!(step(-100.0, 2.0).seen(-2.0, 1.0).counts, 16.0);
        assert_eq!(step(1e9, 0.0).seen(1e9, 1.0).counts, STEP_MAX);
    }
}
