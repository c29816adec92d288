//! What STL can be told: the period, three smoothers and how often they are applied.

use super::error::Error;

/// What is fitted to the values of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degree {
    /// A weighted mean.
    Constant,
    /// A weighted line.
    Line,
}

/// One of the three LOESS smoothers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smoother {
    /// The values that a fit is made of: odd, at least 3. Wider than the series is allowed, and flattens the weights.
    pub window: usize,
    /// What is fitted.
    pub degree: Degree,
    /// From one fitted value to the next, at least 1; those between lie on straight lines.
    pub jump: usize,
}

impl Smoother {
    /// A window with the jump that Cleveland et al. recommend, a tenth of it.
    pub fn new(window: usize, degree: Degree) -> Self {
        Self { window, degree, jump: window.div_ceil(10) }
    }

    /// The same, with every value fitted.
    #[must_use]
    pub fn at_every_value(self) -> Self {
        Self { jump: 1, ..self }
    }
}

/// All that STL can be told. The names of the paper and of Cleveland's Fortran stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Values in a season (n_p, `np`), at least 2.
    pub period: usize,
    /// Over the values of one phase (n_s, `ns`), counted in seasons.
    pub seasonal: Smoother,
    /// Over the series without its season (n_t, `nt`).
    pub trend: Smoother,
    /// Over the seasonal part, to leave what is slow to the trend (n_l, `nl`).
    pub low_pass: Smoother,
    /// Seasonal and trend smoothing in turn, so many times (n_i, `ni`), at least 1.
    pub inner_loops: usize,
    /// Fits after the first, each with less weight on what the one before left over (n_o, `no`); 0 is not robust.
    pub outer_loops: usize,
}

impl Parameters {
    /// Those of the crate `stlrs` and of R's `stl` for a seasonal window: `trend` the next odd number from 1.5 period / (1 − 1.5 / window), jumps of a tenth,
    /// two inner loops. The window is at least 3; an even one is widened by one, as there.
    pub fn new(period: usize, seasonal_window: usize) -> Self {
        let seasonal = seasonal_window.max(3) | 1;
        Self {
            period,
            seasonal: Smoother::new(seasonal, Degree::Constant),
            trend: Smoother::new(trend_window(period, seasonal), Degree::Line),
            low_pass: Smoother::new(period.max(3) | 1, Degree::Line),
            inner_loops: 2,
            outer_loops: 0,
        }
    }

    /// The defaults of the crate `stlrs`, whose seasonal window is the period itself.
    pub fn stlrs(period: usize) -> Self {
        Self::new(period, period)
    }

    /// The defaults of `statsmodels.tsa.seasonal.STL`: a seasonal window of 7, lines everywhere, every value fitted, five inner loops, and a low-pass window
    /// longer than the period even where that is odd.
    pub fn statsmodels(period: usize) -> Self {
        let mut parameters = Self::new(period, 7);
        parameters.seasonal.degree = Degree::Line;
        parameters.low_pass.window = (period + 1) | 1;
        parameters.inner_loops = 5;
        for smoother in [&mut parameters.seasonal, &mut parameters.trend, &mut parameters.low_pass] {
            *smoother = smoother.at_every_value();
        }
        parameters
    }

    /// A season that does not change over `n` values: the plain mean of each phase, by a window so wide that its weights are flat (`s.window = "periodic"` in R,
    /// which also averages what is left of a difference between seasons).
    pub fn periodic(period: usize, n: usize) -> Self {
        Self::new(period, n.saturating_mul(10).saturating_add(1))
    }

    /// The same, robustly: half as many inner loops and 15 outer ones, as in R, `stlrs` (one for two) and statsmodels (two for five).
    #[must_use]
    pub fn robust(self) -> Self {
        Self { inner_loops: (self.inner_loops / 2).max(1), outer_loops: 15, ..self }
    }

    /// The same, with every value fitted.
    #[must_use]
    pub fn at_every_value(self) -> Self {
        let [seasonal, trend, low_pass] = [self.seasonal, self.trend, self.low_pass].map(Smoother::at_every_value);
        Self { seasonal, trend, low_pass, ..self }
    }

    /// What is wrong with them for series of `n` values.
    pub(super) fn check(&self, n: usize) -> Result<(), Error> {
        let period = self.period;
        if period < 2 {
            return Err(Error::PeriodTooShort { period });
        }
        if n / 2 < period {
            return Err(Error::TooFewPeriods { n, period });
        }
        for (smoother, asked) in [("seasonal", self.seasonal), ("trend", self.trend), ("low_pass", self.low_pass)] {
            if asked.window < 3 || asked.window.is_multiple_of(2) {
                return Err(Error::BadWindow { smoother, window: asked.window });
            }
            if asked.jump == 0 {
                return Err(Error::NoJump { smoother });
            }
        }
        if self.inner_loops == 0 { Err(Error::NoInnerLoop) } else { Ok(()) }
    }
}

/// The next odd number from 1.5 period / (1 − 1.5 / window), in single precision as in `stlrs`: the ceiling must fall on the same side.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive; beyond 2^24 any window will do
fn trend_window(period: usize, seasonal: usize) -> usize {
    let window = (1.5 * period as f32 / (1.0 - 1.5 / seasonal as f32)).ceil();
    (window as usize).max(3) | 1
}
