//! Why a series cannot be taken apart.

use std::fmt;

/// Why a plan cannot be made, or a series cannot be fitted by it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A season of fewer than two values is no season.
    PeriodTooShort {
        /// The period asked for.
        period: usize,
    },
    /// Fewer than two whole periods: seasonal and trend cannot be told apart.
    TooFewPeriods {
        /// Values in the series.
        n: usize,
        /// The period asked for.
        period: usize,
    },
    /// A window is even, and has no middle, or is shorter than three values.
    BadWindow {
        /// Which of the three smoothers it is: `seasonal`, `trend` or `low_pass`.
        smoother: &'static str,
        /// The window asked for.
        window: usize,
    },
    /// A jump of zero never gets on.
    NoJump {
        /// Which of the three smoothers it is.
        smoother: &'static str,
    },
    /// Without an inner loop nothing is computed.
    NoInnerLoop,
    /// A series has another length than the plan was made for.
    OtherLength {
        /// Values that the plan is for.
        expected: usize,
        /// Values in the series.
        n: usize,
    },
    /// Every value is missing.
    AllMissing,
    /// A value is infinite; only NaN says that one is missing.
    Infinite {
        /// The place of the first such value.
        place: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeriodTooShort { period } => write!(formatter, "a period of {period} is no season: 2 is the least"),
            Self::TooFewPeriods { n, period } => {
                write!(formatter, "{n} values are less than two periods of {period}: give {} or more", period.saturating_mul(2))
            }
            Self::BadWindow { smoother, window } => {
                write!(formatter, "the {smoother} window is {window}: it must be odd and at least 3")
            }
            Self::NoJump { smoother } => write!(formatter, "the {smoother} jump is 0: 1 fits every value"),
            Self::NoInnerLoop => write!(formatter, "no inner loops: 1 is the least"),
            Self::OtherLength { expected, n } => write!(formatter, "the series has {n} values, and the plan is for {expected}"),
            Self::AllMissing => write!(formatter, "every value of the series is missing"),
            Self::Infinite { place } => write!(formatter, "value {place} of the series is infinite: write NaN where one is missing"),
        }
    }
}

impl std::error::Error for Error {}
