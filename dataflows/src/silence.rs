//! Silences: stretches of time in which deviations of some series are expected, such as maintenance.

use crate::Time;
use crate::identity::MetricId;
use serde::{Deserialize, Serialize};

/// A stretch of event time in which nothing of some series is an anomaly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Silence {
    /// Its number in history.
    pub id: i64,
    /// Names of entities; `*` stands for any text, `?` for any character.
    pub entity: String,
    /// The metric; `None`: all.
    pub metric: Option<MetricId>,
    /// Buckets that begin at or after this...
    pub from: Time,
    /// ...and before this are silent.
    pub until: Time,
}

impl Silence {
    /// Whether it covers a bucket of a series.
    pub fn covers(&self, entity: &str, metric: MetricId, start: Time) -> bool {
        (self.from..self.until).contains(&start) && self.metric.is_none_or(|only| only == metric) && fits(&self.entity, entity)
    }
}

/// Whether a text fits a pattern in which `*` stands for any text and `?` for any one character.
pub fn fits(pattern: &str, text: &str) -> bool {
    // Nearly all names are ASCII, and nothing is to be copied then.
    if pattern.is_ascii() && text.is_ascii() {
        return fit(pattern.as_bytes(), text.as_bytes(), b'*', b'?');
    }
    let characters = |text: &str| text.chars().collect::<Vec<char>>();
    fit(&characters(pattern), &characters(text), '*', '?')
}

fn fit<T: PartialEq + Copy>(pattern: &[T], text: &[T], any: T, one: T) -> bool {
    // Greedy, going back to the last star only: linear in practice, and never exponential.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p).is_some_and(|wanted| *wanted == any) {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|wanted| *wanted == one || *wanted == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((place, taken)) = star {
            star = Some((place, taken + 1));
            (p, t) = (place + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_fit_what_people_expect() {
        for (pattern, text) in
            [("srv-0*", "srv-001"), ("*", ""), ("srv-??1", "srv-001"), ("*-0*1", "srv-0011"), ("a*b*c", "aXbYbZc"), ("é?*", "éèb")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("srv-0*", "srv-101"), ("", "x"), ("srv-?", "srv-"), ("a*b*c", "aXbY"), ("srv", "srv-001")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_silence_covers_its_series_for_its_time() {
        let silence = Silence { id: 1, entity: "srv-0*".into(), metric: Some(MetricId(7)), from: 300, until: 900 };
        assert!(silence.covers("srv-001", MetricId(7), 300) && silence.covers("srv-001", MetricId(7), 600));
        assert!(!silence.covers("srv-001", MetricId(7), 900) && !silence.covers("srv-001", MetricId(8), 300));
        assert!(!silence.covers("srv-101", MetricId(7), 300));
    }
}
