//! STL, a seasonal-trend decomposition by LOESS (Cleveland, Cleveland, McRae and Terpenning 1990, Journal of Official Statistics 6, 3–73), of series on a uniform grid.
//!
//! A series is taken apart into a *seasonal* part that repeats with a known period and may change slowly, a *trend* and a *residual*. LOESS fits a mean or a
//! line to the values around each place, those nearby counting most. On a uniform grid the weights depend on nothing but the place, and inside the grid not even
//! on that: a [`Plan`] computes them once, and each fit is then a handful of dot products. Series are fitted side by side, so that a compiler makes vector
//! instructions of them; a series has the same bits alone as among others.
//!
//! Numbers are those of Cleveland's Fortran and of its descendants (R's `stl`, `statsmodels.tsa.seasonal.STL`, the crate `stlrs`) up to the order of
//! additions, about 1e-12 of the values, jumps included.
//! A robust fit of some hundred values of real series agrees to 1e-9 after its fifteen loops (`tests/golden/stl_r.R`, `stl_statsmodels.py`). Where few values
//! have weight, the bisquare's steps of 2e-6 and 4e-6 at its margins and nearly singular lines let rounding grow from loop to loop: on short random series
//! statsmodels, `stlrs` and this differ by 1e-9 to 1e-5 from one another. R goes by two other sizes than the middle ones in some series of an even number of
//! values, since it asks its partial sort for them in descending order; it is compared on odd ones.
//!
//! **Missing values** are NaN and have no weight, in the first fit as in the robust ones, as in Hafen's `stlplus`: they are not guessed beforehand. A fit without any
//! weight in reach is the straight line between the fits beside it in the same phase, and for a phase that was never seen between its neighbours in time. The low-pass
//! filter sees the smoothed phases, which have no gaps. Without missing values nothing differs from the Fortran.
//!
//! ```
//! use tidewatch::stl::{Parameters, Plan};
//!
//! // Six days by the hour: a daily swing on a slow climb, one value unknown.
//! let swing = |hour: usize| (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
//! let mut series: Vec<f64> = (0..144).map(|hour| 50.0 + 0.1 * hour as f64 + 8.0 * swing(hour)).collect();
//! series[70] = f64::NAN;
//!
//! let plan = Plan::new(Parameters::periodic(24, series.len()).robust(), series.len())?;
//! let parts = plan.fit(&series)?;
//! assert!((parts.seasonal[70] - 8.0 * swing(70)).abs() < 0.2);
//! assert!((parts.trend[70] - 57.0).abs() < 0.2);
//! assert!(parts.residual[70].is_nan());
//! # Ok::<(), tidewatch::stl::Error>(())
//! ```

mod error;
mod fit;
mod holes;
mod loess;
mod parameters;
mod plan;
mod robustness;
mod smooth;
mod sums;
#[cfg(test)]
mod tests;
mod vectors;

pub use error::Error;
pub use parameters::{Degree, Parameters, Smoother};
pub use plan::{Decomposition, Fitter, Plan};
