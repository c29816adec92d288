//! What a profile says of one bucket, and of those beside it: where it jumps, a job may begin or end a bucket early or late.

use crate::tracking::QUIET;

/// A profile jumps where it is so many usual deviations from the bucket before to the one after.
const EDGE: f64 = 5.0;

/// The seasonal part of a bucket and of its neighbours, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Season {
    /// Of the bucket before.
    pub before: f64,
    /// Of the bucket itself.
    pub now: f64,
    /// Of the bucket after.
    pub after: f64,
}

impl Season {
    /// What a bucket is measured against that is `above` the level, where the one before it was `was_off` from its own: the nearest that the profile says from
    /// the bucket before to the one after, if it jumps there by many times the `scale` of the series; a bucket that is off as the one before it was is late by
    /// more than one. Of what comes in a single bucket the neighbours are alike, and whether it comes is seen.
    pub(crate) fn nearest(&self, above: f64, was_off: f64, scale: f64) -> f64 {
        let (least, most) = (self.before.min(self.after), self.before.max(self.after));
        if most - least <= EDGE * scale || was_off * (above - self.now) > 0.0 && was_off.abs() > QUIET * scale {
            return self.now;
        }
        above.clamp(least.min(self.now), most.max(self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_be_a_bucket_early_or_late_and_not_two() {
        let begins = Season { before: 0.0, now: 40.0, after: 40.0 };
        assert_eq!([0.5, 40.0, 20.0].map(|above| begins.nearest(above, 0.0, 1.0)), [0.5, 40.0, 20.0]);
        assert_eq!([-9.0, 70.0].map(|above| begins.nearest(above, 0.0, 1.0)), [0.0, 40.0], "beyond both is off");
        let second = Season { before: 40.0, now: 40.0, after: 40.0 };
        assert_eq!(second.nearest(0.5, -40.0, 1.0), 40.0);
        let ends = Season { before: 40.0, now: 40.0, after: 0.0 };
        assert_eq!((ends.nearest(0.5, -40.0, 1.0), ends.nearest(0.5, 0.3, 1.0)), (40.0, 0.5), "one that has not come is missed");
    }

    #[test]
    fn what_comes_in_one_bucket_is_missed_where_it_does_not_and_a_slope_is_no_edge() {
        let single = Season { before: 0.0, now: 40.0, after: 0.0 };
        assert_eq!(single.nearest(0.5, 0.0, 1.0), 40.0);
        let slope = Season { before: 0.0, now: 1.0, after: 2.0 };
        let flat = Season { before: 3.0, now: 3.0, after: 3.0 };
        assert_eq!((slope.nearest(0.0, 0.0, 1.0), flat.nearest(0.0, 0.0, 1.0)), (1.0, 3.0));
    }
}
