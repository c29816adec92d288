//! How many alarms an operator is ready to answer.

use std::fmt;
use std::str::FromStr;

/// Units of time and their days.
const UNITS: [(&str, f64); 3] = [("day", 1.0), ("week", 7.0), ("month", 30.0)];

/// So many alarms per series and unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    alarms: f64,
    unit: (&'static str, f64),
}

impl Budget {
    /// The same per series and day.
    pub fn per_series_day(&self) -> f64 {
        self.alarms / self.unit.1
    }

    /// A number of alarms in so many days of series, in the budget's unit of time.
    pub fn rate(&self, alarms: u64, series_days: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let alarms = alarms as f64;
        alarms / series_days.max(f64::MIN_POSITIVE) * self.unit.1
    }

    /// The unit of time, by its name.
    pub fn unit(&self) -> &'static str {
        self.unit.0
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c == '/').filter(|word| !["", "per", "and"].contains(word)).collect();
        let budget = match words[..] {
            [alarms, "series", unit] => alarms.parse().ok().zip(UNITS.into_iter().find(|(name, _)| *name == unit)),
            _ => None,
        };
        let budget = budget.filter(|(alarms, _): &(f64, _)| *alarms >= 0.0 && alarms.is_finite());
        let (alarms, unit) = budget.ok_or("write it like \"1 per series and month\" or 0.5/series/week; units are day, week and month")?;
        Ok(Self { alarms, unit })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per series and {}", self.alarms, self.unit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_in_words_or_in_short() {
        let budget = |text: &str| text.parse::<Budget>();
        assert_eq!(budget("1 per series and month"), budget("1/series/month"));
        assert!((budget("3.5 per series and week").unwrap().per_series_day() - 0.5).abs() < 1e-12);
        assert!((budget("1/series/month").unwrap().rate(6, 90.0) - 2.0).abs() < 1e-12);
        for wrong in ["", "1", "1 per month", "-1/series/day", "few per series and day", "1/series/year", "NaN/series/day"] {
            assert!(budget(wrong).unwrap_err().contains("\"1 per series and month\""), "{wrong}");
        }
    }
}
