//! The JSON form of a model: what redis-cli shows. No other file knows it.
//!
//! Numbers survive bit for bit: they are written in the shortest form that reads back to the same double, and
//! they are read exactly, by serde_json with its feature `float_roundtrip` or, those of a profile, by [`super::profile`].

use super::profile::{self, Parted};
use super::{Provenance, Trained};
use crate::instant;
use crate::series::SeriesName;
use dataflows::{Cadence, Calendar, Method, MetricType, Model, Seasonal, Time, Tracker, Warming};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Milliseconds in a second.
const SECOND: f64 = 1000.0;

/// The document, its fields in the order in which a person wants to read them.
#[derive(Serialize, Deserialize)]
struct Document {
    series: String,
    method: String,
    /// What it scores; a document that does not say so is of a gauge.
    #[serde(default)]
    metric_type: MetricType,
    parameters: Map<String, Value>,
    bucket_seconds: f64,
    period: usize,
    trained_from: String,
    trained_until: String,
    trained_at: String,
    buckets: u32,
    masked: u32,
    fill: f64,
    input_hash: String,
    level: f64,
    sigma: f64,
    seasonal: Profiles,
    /// Where it is not UTC without holidays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<Days>,
    /// When samples are due, where that is not in every bucket: see [`Cadence`].
    #[serde(default, skip_serializing_if = "is_steady")]
    cadence: Cadence,
    /// Of the method `seasonal_level` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracker: Option<Box<Tracker>>,
    /// Of a series that is too young for a model, whose other numbers mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warming: Option<Progress>,
}

/// `{"buckets": 37, "needed": 288, "as_of": "2026-01-19T03:00:00Z"}`.
#[derive(Serialize, Deserialize)]
struct Progress {
    buckets: u32,
    needed: u32,
    as_of: String,
}

/// `{"daily": […]}` or `{"weekday": […], "weekend": […]}`. An untagged enum would be read twice, and reading models is most of a start.
#[derive(Default, Serialize, Deserialize)]
struct Profiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    daily: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weekday: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weekend: Option<Vec<f64>>,
}

impl Profiles {
    /// In no more memory than they need: serde_json reads them without knowing how many they are, into room for as many again.
    fn seasonal(mut self) -> Result<Seasonal, String> {
        [&mut self.daily, &mut self.weekday, &mut self.weekend].into_iter().flatten().for_each(Vec::shrink_to_fit);
        match self {
            Self { daily: Some(daily), weekday: None, weekend: None } => Ok(Seasonal::Daily(daily)),
            Self { daily: None, weekday: Some(weekday), weekend: Some(weekend) } => Ok(Seasonal::Weekly { weekday, weekend }),
            _ => Err("seasonal: write either daily, or weekday and weekend".into()),
        }
    }
}

/// `{"zone": "Europe/Berlin", "offsets": [["2026-03-29T01:00:00Z", 7200]], "holidays": ["2026-12-25"]}`; offsets in seconds.
#[derive(Serialize, Deserialize)]
struct Days {
    zone: String,
    offsets: Vec<(String, i64)>,
    holidays: Vec<String>,
}

impl Days {
    fn of(calendar: &Calendar) -> Self {
        let offsets = calendar.offsets.iter().map(|(since, ahead)| (instant::format(*since), ahead / 1000)).collect();
        let holidays = calendar.holidays.iter().map(|day| instant::format_day(*day)).collect();
        Self { zone: calendar.zone.clone(), offsets, holidays }
    }

    fn calendar(self) -> Result<Calendar, String> {
        let offset = |(since, seconds): (String, i64)| Ok((time("offsets", &since)?, seconds.saturating_mul(1000)));
        let day = |text: String| instant::parse_day(&text).ok_or_else(|| format!("holidays: '{text}' is not a date"));
        let offsets = self.offsets.into_iter().map(offset).collect::<Result<_, String>>()?;
        let holidays = self.holidays.into_iter().map(day).collect::<Result<_, String>>()?;
        Ok(Calendar { zone: self.zone, offsets, holidays })
    }
}

/// Writes a model as one line of JSON. A model with a [`Model::defect`] is refused, with the reason: it could not be read again.
pub(super) fn write(trained: &Trained) -> Result<String, String> {
    let (model, provenance) = (&trained.model, &trained.provenance);
    if let Some(defect) = model.defect() {
        return Err(defect.into());
    }
    let (period, seasonal) = match model.seasonal.clone() {
        Seasonal::Daily(daily) => (daily.len(), Profiles { daily: Some(daily), ..Profiles::default() }),
        Seasonal::Weekly { weekday, weekend } => {
            (weekday.len(), Profiles { weekday: Some(weekday), weekend: Some(weekend), ..Profiles::default() })
        }
    };
    #[allow(clippy::cast_precision_loss)] // a bucket is shorter than 2^53 ms
    let bucket_seconds = model.bucket_width as f64 / SECOND;
    let document = Document {
        series: trained.series.to_string(),
        method: provenance.method.clone(),
        metric_type: model.metric_type,
        parameters: provenance.parameters.clone(),
        bucket_seconds,
        period,
        trained_from: instant::format(model.trained_from),
        trained_until: instant::format(model.trained_until),
        trained_at: instant::format(provenance.trained_at),
        buckets: provenance.buckets,
        masked: provenance.masked,
        fill: provenance.fill,
        input_hash: provenance.input_hash.clone(),
        level: model.level,
        sigma: model.sigma,
        seasonal,
        calendar: (*model.calendar != Calendar::default()).then(|| Days::of(&model.calendar)),
        cadence: model.cadence.clone(),
        tracker: match &model.method {
            Method::SeasonalLevel(tracker) => Some(tracker.clone()),
            Method::StlZscore | Method::SeasonalNaive | Method::Warming(_) => None,
        },
        warming: model.as_warming().map(|warming| Progress {
            buckets: warming.seen,
            needed: warming.needed,
            as_of: instant::format(warming.as_of),
        }),
    };
    serde_json::to_string(&document).map_err(|error| error.to_string())
}

/// Reads a model; what is wrong with the document otherwise.
pub(super) fn read(text: &str) -> Result<Trained, String> {
    let document = profile::part(text).and_then(whole).map_or_else(|| parse(text), Ok)?;
    let seasonal = document.seasonal.seasonal()?;
    let is_whole = match &seasonal {
        Seasonal::Daily(daily) => daily.len() == document.period,
        Seasonal::Weekly { weekday, weekend } => weekday.len() == document.period && weekend.len() == document.period,
    };
    if !is_whole {
        return Err(format!("a seasonal profile does not have {} values", document.period));
    }
    let warming = document.warming.map(|Progress { buckets, needed, as_of }| {
        time("as_of", &as_of).map(|as_of| Method::Warming(Warming { seen: buckets, needed, as_of }))
    });
    let method = warming.transpose()?.filter(|warming| warming.name() == document.method);
    let method = method.or_else(|| Method::named(&document.method, document.tracker));
    let method = method.ok_or_else(|| format!("the method '{}' is not known, or its numbers are missing", document.method))?;
    #[allow(clippy::cast_possible_truncation)] // saturates, and 0 is a defect
    let model = Model {
        bucket_width: (document.bucket_seconds * SECOND).round() as Time,
        trained_from: time("trained_from", &document.trained_from)?,
        trained_until: time("trained_until", &document.trained_until)?,
        level: document.level,
        sigma: document.sigma,
        seasonal,
        calendar: Arc::new(document.calendar.map_or_else(|| Ok(Calendar::default()), Days::calendar)?),
        method,
        metric_type: document.metric_type,
        cadence: document.cadence,
    };
    if let Some(defect) = model.defect() {
        return Err(defect.into());
    }
    let provenance = Provenance {
        method: document.method,
        parameters: document.parameters,
        buckets: document.buckets,
        masked: document.masked,
        fill: document.fill,
        input_hash: document.input_hash,
        trained_at: time("trained_at", &document.trained_at)?,
    };
    let series: SeriesName = document.series.parse()?;
    Ok(Trained { series, model: Arc::new(model), provenance })
}

fn is_steady(cadence: &Cadence) -> bool {
    *cadence == Cadence::Steady
}

fn parse(text: &str) -> Result<Document, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The document whose numbers were read apart.
fn whole(Parted { document, lists }: Parted) -> Option<Document> {
    let mut document = parse(&document).ok()?;
    let Profiles { daily, weekday, weekend } = &mut document.seasonal;
    for (list, numbers) in [daily, weekday, weekend].into_iter().zip(lists) {
        // Otherwise they are not of this document.
        if list.is_some() != numbers.is_some() || list.as_ref().is_some_and(|list| !list.is_empty()) {
            return None;
        }
        *list = numbers;
    }
    Some(document)
}

fn time(field: &str, text: &str) -> Result<Time, String> {
    instant::parse(text).ok_or_else(|| format!("{field} '{text}' is not a time"))
}

#[cfg(test)]
mod tests {
    use super::super::samples::trained;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_survives_the_document_bit_for_bit(
            level in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            sigma in proptest::num::f64::POSITIVE | proptest::num::f64::SUBNORMAL,
            profile in prop::collection::vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO, 4),
            bucket_width in 1_i64..86_400_000,
        ) {
            prop_assume!(sigma > 0.0 && sigma.is_finite());
            let mut trained = trained("a", 1_000, level);
            let model = Arc::make_mut(&mut trained.model);
            (model.sigma, model.bucket_width, model.seasonal) = (sigma, bucket_width, Seasonal::Daily(profile));
            let back = read(&write(&trained).unwrap()).unwrap();
            prop_assert_eq!(format!("{:?}", back), format!("{:?}", &trained));
            prop_assert_eq!(back.model.level.to_bits(), level.to_bits());
            prop_assert_eq!(back.model.sigma.to_bits(), sigma.to_bits());
        }
    }

    #[test]
    fn a_person_can_read_it() {
        let text = write(&trained("srv-001", 1_769_000_000_000, 42.5)).unwrap();
        assert!(
            text.starts_with(r#"{"series":"server:srv-001:cpu_usage_percent","method":"stl_zscore","metric_type":"gauge","parameters":{"#),
            "{text}"
        );
        assert!(text.contains(r#""trained_until":"2026-01-21T12:53:20Z""#), "{text}");
        assert!(text.contains(r#""level":42.5,"sigma":2.0,"seasonal":{"weekday":["#), "{text}");
    }

    #[test]
    fn when_samples_are_due_is_said_where_it_is_not_in_every_bucket() {
        let mut trained = trained("a", 1_000, 1.0);
        assert!(!write(&trained).unwrap().contains("cadence"));
        let nightly = Cadence::Phases { weekday: vec![(0, 1), (2, 4)], weekend: vec![], longest: 9 };
        for (cadence, text) in [
            (nightly, r#""cadence":{"phases":{"weekday":[[0,1],[2,4]],"weekend":[],"longest":9}}"#),
            (Cadence::Within(24), r#""cadence":{"within":24}"#),
            (Cadence::Unknown, r#""cadence":"unknown""#),
        ] {
            Arc::make_mut(&mut trained.model).cadence = cadence.clone();
            let written = write(&trained).unwrap();
            assert!(written.contains(text), "{written}");
            assert_eq!(read(&written).unwrap().model.cadence, cadence);
        }
    }

    #[test]
    fn what_is_not_a_model_says_why() {
        let good = write(&trained("a", 1_000, 1.0)).unwrap();
        for (from, to, problem) in [
            ("\"sigma\":2.0", "\"sigma\":0.0", "sigma is not a positive number"),
            ("\"sigma\":2.0", "\"sigma\":null", "invalid type"),
            ("\"period\":4", "\"period\":5", "does not have 5 values"),
            ("1970-01-01T00:00:01Z", "yesterday", "'yesterday' is not a time"),
            ("\"level\"", "\"lvel\"", "missing field `level`"),
            ("server:a:cpu_usage_percent", "server", "is not a series"),
        ] {
            let bad = read(&good.replacen(from, to, 1)).unwrap_err();
            assert!(bad.contains(problem), "{bad}");
        }
        let mut broken = trained("a", 1_000, 1.0);
        Arc::make_mut(&mut broken.model).level = f64::NAN;
        assert!(write(&broken).is_err());
    }
}
