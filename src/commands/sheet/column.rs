//! The columns of a sheet, and what each says of a verdict.

use clap::ValueEnum;
use dataflows::{Policy, State, Verdict, anomaly_score};

/// A column. The first four are those of an input that is a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Column {
    /// When it was measured, as the input says, or the start of the bucket.
    Timestamp,
    /// Whose it is.
    Entity,
    /// What was measured.
    Metric,
    /// The value that the input gave, or the mean of the bucket.
    Value,
    /// What the model expected; empty without a score, like what is derived from it.
    Expected,
    /// What counts, while `OwnZScore` is that of the series alone: they differ where the bucket accompanies one of another metric of its entity.
    ZScore,
    /// Whether the bucket is an anomaly.
    IsAnomaly,
    /// The start of the bucket; empty where the row of an input has no verdict.
    BucketStart,
    /// The mean of its samples; empty where there are none, like the other aggregates.
    Mean,
    /// The scale of the residuals.
    Sigma,
    /// What is said of the bucket, in one word.
    State,
    /// How bad an anomaly is; empty where there is none.
    Severity,
    /// The z-score between 0 and 1.
    AnomalyScore,
    /// The residual by its sigma.
    OwnZScore,
    /// How many samples the bucket has.
    Count,
    /// The least of them.
    Min,
    /// The greatest of them.
    Max,
    /// Their standard deviation, over one less than their number.
    Stddev,
}

impl Column {
    /// All of them, in their order.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// What it is called in a file.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What a column of numbers says of a verdict; `None` where there is no score or no sample, and of other columns.
    pub fn number(self, verdict: &Verdict, policy: &Policy) -> Option<f64> {
        let (score, aggregate) = (verdict.score.as_ref(), verdict.bucket.aggregate.as_ref());
        match self {
            Self::Value | Self::Mean => aggregate.map(|aggregate| aggregate.mean.0),
            Self::Min => aggregate.map(|aggregate| aggregate.min.0),
            Self::Max => aggregate.map(|aggregate| aggregate.max.0),
            Self::Stddev => aggregate.map(|aggregate| aggregate.stddev.0),
            Self::Expected => score.map(|score| score.expected.0),
            Self::Sigma => score.map(|score| score.sigma.0),
            Self::OwnZScore => score.map(|score| score.z_score.0),
            Self::ZScore => spoken(verdict, policy),
            Self::AnomalyScore => spoken(verdict, policy).map(anomaly_score),
            _ => None,
        }
    }
}

/// The z_score as it counts: that of a bucket which accompanies another ends at its threshold, since only what is past it is an anomaly.
pub fn spoken(verdict: &Verdict, policy: &Policy) -> Option<f64> {
    let z_score = verdict.score?.z_score.0;
    if verdict.state != State::Accompanying {
        return Some(z_score);
    }
    let threshold = policy.limits(verdict.bucket.metric).threshold;
    Some(z_score.clamp(-threshold, threshold))
}

/// Whether a bucket is an anomaly. A row of the input without a verdict is none.
pub fn is_anomaly(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(|verdict| verdict.state == State::Anomalous)
}

/// How bad an anomaly is; `None` for what is none.
pub fn severity(verdict: &Verdict, policy: &Policy) -> Option<&'static str> {
    let score = verdict.score.filter(|_| is_anomaly(Some(verdict)))?;
    Some(policy.severity(verdict.bucket.metric, score.z_score.0).as_str())
}

/// What is said of a bucket in one word. A row of the input without a verdict was refused.
pub fn state(verdict: Option<&Verdict>) -> &'static str {
    verdict.map_or("unscored(refused)", |verdict| verdict.state.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_called_what_they_were_always_called() {
        let names: Vec<String> = Column::all().iter().map(|column| column.name()).collect();
        assert_eq!(names[..4], crate::source::table::COLUMNS);
        assert_eq!(
            names[4..].join(","),
            "expected,z_score,is_anomaly,bucket_start,mean,sigma,state,severity,anomaly_score,own_z_score,count,min,max,stddev"
        );
    }
}
