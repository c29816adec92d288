//! The simulated clock: it stands until the live part begins, and then goes at the pace asked for.

use dataflows::Time;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// A second a second.
    Real,
    /// This many seconds a second.
    Times(f64),
    /// As fast as records are read: nothing waits.
    Max,
}

impl std::str::FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(1.0)) => Ok(Self::Real),
            (_, Ok(times)) if times > 0.0 && times.is_finite() => Ok(Self::Times(times)),
            _ => Err(format!("'{text}' is not a speed: write 1 for real time, 60 for a minute a second, or max")),
        }
    }
}

/// A clock that several workers share.
#[derive(Debug)]
pub(super) struct Clock {
    start: Time,
    pace: Pace,
    live: OnceLock<(Instant, Time)>,
    reached: AtomicI64,
}

impl Clock {
    /// A clock that stands at `start`.
    pub(super) fn new(start: Time, pace: Pace) -> Self {
        Self { start, pace, live: OnceLock::new(), reached: AtomicI64::new(start) }
    }

    /// Lets it go, from `from` or `start`, whichever is later; only the first call counts.
    pub(super) fn go_live(&self, from: Time) {
        self.live.get_or_init(|| (Instant::now(), from.max(self.start)));
    }

    /// The simulated time. At [`Pace::Max`] it is that of the newest record that anybody was given.
    pub(super) fn now(&self) -> Time {
        let Some((since, from)) = self.live.get() else { return self.start };
        let elapsed = since.elapsed().as_secs_f64() * 1000.0;
        match self.pace {
            Pace::Real => from + elapsed as Time,
            Pace::Times(times) => from + (elapsed * times) as Time,
            Pace::Max => self.reached.load(Ordering::Relaxed),
        }
    }

    /// The newest time that may be handed out; `None` before the live part.
    pub(super) fn horizon(&self) -> Option<Time> {
        self.live.get().map(|_| if self.pace == Pace::Max { Time::MAX } else { self.now() })
    }

    /// Notes that a record of this time is about to be handed out.
    pub(super) fn reach(&self, time: Time) {
        if self.pace == Pace::Max {
            self.reached.fetch_max(time, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_until_it_goes_live() {
        for pace in [Pace::Real, Pace::Times(1e6), Pace::Max] {
            let clock = Clock::new(5000, pace);
            assert_eq!((clock.now(), clock.horizon()), (5000, None));
            clock.go_live(0);
            assert!(clock.horizon() >= Some(5000));
        }
        let clock = Clock::new(5000, Pace::Max);
        clock.go_live(9000);
        clock.reach(7000);
        assert_eq!((clock.now(), clock.horizon()), (7000, Some(Time::MAX)));
    }

    #[test]
    fn a_speed_is_a_number_above_zero_or_max() {
        assert_eq!("1".parse(), Ok(Pace::Real));
        assert_eq!("60".parse(), Ok(Pace::Times(60.0)));
        assert_eq!("max".parse(), Ok(Pace::Max));
        for wrong in ["0", "-1", "inf", "nan", "fast", ""] {
            assert!(wrong.parse::<Pace>().is_err(), "{wrong}");
        }
    }
}
