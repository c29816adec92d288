//! A plan: the geometry of STL for series of one length, made once and applied to any number of them.

use super::error::Error;
use super::fit::{Fit, Weighting};
use super::loess::Loess;
use super::parameters::Parameters;

/// Series that are fitted side by side.
const SIDE_BY_SIDE: usize = 8;

/// A series taken apart, value by value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decomposition {
    /// What repeats; finite, also where a value is missing.
    pub seasonal: Vec<f64>,
    /// What is slow; finite, also where a value is missing.
    pub trend: Vec<f64>,
    /// What is left: value − seasonal − trend; NaN where a value is missing.
    pub residual: Vec<f64>,
    /// What each value counted in the last fit, 0 to 1: 1 without outer loops, 0 where a value is missing.
    pub weights: Vec<f64>,
}

/// STL for series of one length: parameters, and every LOESS weight that they need.
///
/// It costs about as much to make as one fit by the textbook, and 0.1 to 6 MB (jumps of a tenth, and of 1). It is never changed by a fit, and may be shared
/// between threads.
#[derive(Clone, Debug)]
pub struct Plan {
    parameters: Parameters,
    geometry: Geometry,
    n: usize,
}

/// The three smoothers; the seasonal one for phases that the last season has and for those that it has not.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) seasonal: [Loess; 2],
    pub(super) trend: Loess,
    pub(super) low_pass: Loess,
}

impl Plan {
    /// A plan for series of `n` values.
    ///
    /// # Errors
    ///
    /// When the parameters make no sense, or `n` is less than two periods.
    pub fn new(parameters: Parameters, n: usize) -> Result<Self, Error> {
        parameters.check(n)?;
        let seasons = [n.div_ceil(parameters.period), n / parameters.period];
        let geometry = Geometry {
            seasonal: seasons.map(|seasons| Loess::extended(parameters.seasonal, seasons)),
            trend: Loess::new(parameters.trend, n),
            low_pass: Loess::new(parameters.low_pass, n),
        };
        Ok(Self { parameters, geometry, n })
    }

    /// Takes one series apart; NaN says that a value is missing.
    ///
    /// # Errors
    ///
    /// When the series has another length than the plan, an infinite value, or none at all.
    pub fn fit(&self, series: &[f64]) -> Result<Decomposition, Error> {
        Ok(self.fit_all(&[series])?.remove(0))
    }

    /// Takes many series apart, in their order: several at a time side by side, in a quarter to a half of the time that they take one by one, with the same
    /// bits.
    ///
    /// # Errors
    ///
    /// As [`Plan::fit`], for the first series that cannot be fitted; then none is.
    pub fn fit_all(&self, series: &[&[f64]]) -> Result<Vec<Decomposition>, Error> {
        let mut found = Vec::new();
        self.fitter().fit_all(series, &mut found)?;
        Ok(found)
    }

    /// Room for fits by this plan, for who has many groups of series one after another.
    pub fn fitter(&self) -> Fitter<'_> {
        Fitter { plan: self, fit: Fit::new(&self.parameters, &self.geometry) }
    }

    fn weighting(&self, series: &[f64]) -> Result<Weighting, Error> {
        if series.len() != self.n {
            return Err(Error::OtherLength { expected: self.n, n: series.len() });
        }
        if let Some(place) = series.iter().position(|value| value.is_infinite()) {
            return Err(Error::Infinite { place });
        }
        match series.iter().filter(|value| value.is_nan()).count() {
            0 => Ok(Weighting::Equal),
            missing if missing == self.n => Err(Error::AllMissing),
            _ => Ok(Weighting::Each),
        }
    }
}

/// A plan and the memory that its fits take, some 0.3 MB a series for eight of them: to ask the system for it anew costs as much as a fit by jumps.
#[derive(Debug)]
pub struct Fitter<'p> {
    plan: &'p Plan,
    fit: Fit<'p>,
}

impl Fitter<'_> {
    /// Takes many series apart like [`Plan::fit_all`], into `found`, whose memory is used again: one decomposition for each series.
    ///
    /// # Errors
    ///
    /// As [`Plan::fit_all`]; then `found` is as it was.
    pub fn fit_all(&mut self, series: &[&[f64]], found: &mut Vec<Decomposition>) -> Result<(), Error> {
        let weightings: Vec<Weighting> = series.iter().map(|series| self.plan.weighting(series)).collect::<Result<_, _>>()?;
        found.resize_with(series.len(), Decomposition::default);
        // Series with gaps are fitted by other sums than those without: a series must not be fitted by what stands beside it.
        for kind in [Weighting::Equal, Weighting::Each] {
            let places: Vec<usize> = (0..series.len()).filter(|i| weightings[*i] == kind).collect();
            for group in places.chunks(SIDE_BY_SIDE) {
                let members: Vec<&[f64]> = group.iter().map(|place| series[*place]).collect();
                self.fit.run(&members, kind);
                for (lane, place) in group.iter().enumerate() {
                    self.fit.tell(lane, series[*place], &mut found[*place]);
                }
            }
        }
        Ok(())
    }
}
