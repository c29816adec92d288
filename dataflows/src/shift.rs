//! What the shift view remembers: where a series was before its last bucket, so that two buckets in a row that are off to one side of it can be told from one.

use serde::{Deserialize, Serialize};

/// A middle level takes so much of the way to each bucket: slower than the fast level, which one bucket carries away, and much faster than the slow one.
const MIDDLE_STEP: f64 = 0.3;

/// From this z-score on, the default threshold, the last bucket was loud enough to be told of.
pub(crate) const TOLD: f64 = 3.0;

/// The middle level and the last bucket, in the metric's unit above the profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The middle level after the last bucket; `None` before the first, after what was not learnt from, or where an older release has left nothing of it.
    pub middle: Option<f64>,
    /// The middle level before it; `None` before the second bucket in a row.
    pub before: Option<f64>,
    /// The last bucket itself.
    pub last: f64,
    /// The highest of the view since its peaks were filed last.
    pub peak: f64,
    /// Whether the last bucket was loud enough by itself: that it goes on is no news.
    pub told: bool,
}

impl Shift {
    /// How far the nearer one of the last bucket and of this one, which is `above` the profile, is from where the series was before both; 0 where they are on two
    /// sides of that, or it is not known.
    pub fn by(&self, above: f64) -> f64 {
        let Some(before) = self.before else { return 0.0 };
        let (last, now) = (self.last - before, above - before);
        if last * now > 0.0 { last.abs().min(now.abs()).copysign(now) } else { 0.0 }
    }

    /// How far the middle level before the last bucket was from some `level`; 0 where it is not known.
    pub(crate) fn was_off(&self, level: f64) -> f64 {
        self.before.map_or(0.0, |before| before - level)
    }

    /// The state after a bucket that is `above` the profile, `next_to` the one before or after a gap.
    pub fn after(&self, above: f64, next_to: bool) -> Self {
        let known = self.middle.filter(|_| next_to);
        let middle = known.map_or(above, |middle| middle + MIDDLE_STEP * (above - middle));
        Self { middle: Some(middle), before: known, last: above, ..*self }
    }

    /// The state after a bucket that is not learnt from: where the series was before the next one is not known.
    pub(crate) fn interrupted(&self) -> Self {
        Self { middle: None, before: None, ..*self }
    }

    /// The same under a profile that says so much less of the last bucket.
    pub(crate) fn moved(&self, by: f64) -> Self {
        let [middle, before] = [self.middle, self.before].map(|level| level.map(|level| level + by));
        Self { middle, before, last: self.last + by, ..*self }
    }

    /// Whether all of it are numbers.
    pub(crate) fn is_finite(&self) -> bool {
        self.middle.iter().chain(&self.before).chain(&[self.last, self.peak]).all(|number| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(values: &[f64]) -> Shift {
        values.iter().fold(Shift::default(), |shift, value| shift.after(*value, true))
    }

    #[test]
    fn two_buckets_to_one_side_count_by_the_nearer_one_and_one_alone_does_not() {
        assert_eq!(after(&[0.0, 0.0, 5.0]).by(7.0), 5.0);
        assert_eq!(after(&[0.0, 0.0, 9.0]).by(4.0), 4.0);
        assert_eq!(after(&[0.0, 0.0, -9.0]).by(-4.0), -4.0);
        assert_eq!([after(&[0.0, 0.0, 9.0]).by(0.0), after(&[0.0, 0.0, 9.0]).by(-9.0), after(&[0.0, 0.0]).by(9.0)], [0.0; 3]);
    }

    #[test]
    fn over_a_gap_nobody_knows_where_the_series_was() {
        // Failed once: a middle level of ten hours ago was the one before, and a random walk is anywhere by then.
        let shift = after(&[0.0, 0.0]).after(9.0, false);
        assert_eq!((shift.by(9.0), shift.after(9.0, true).by(9.0), shift.after(9.0, true).before), (0.0, 0.0, Some(9.0)));
        let silenced = after(&[0.0, 0.0]).interrupted();
        assert_eq!((silenced.by(9.0), silenced.after(9.0, true).by(9.0)), (0.0, 0.0));
        // Failed once: a state that an older release had stored began at 0, and each level was a shift from there.
        assert_eq!([Shift::default().by(9.0), after(&[50.0]).by(59.0), after(&[50.0, 50.0]).by(59.0)], [0.0; 3]);
    }

    #[test]
    fn another_profile_moves_all_of_it() {
        assert_eq!(after(&[0.0, 0.0, 5.0]).moved(2.0).by(9.0), after(&[0.0, 0.0, 5.0]).by(7.0));
    }
}
