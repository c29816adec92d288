//! A whole training run, from a history to a store of models, and real series.

mod training_series;

use clap::Parser;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tidewatch::history::statement::{Columns, Shape, Statement};
use tidewatch::history::{Anomaly, Batch, History, HistoryError, LetterFilter, Position, Series, StoredLetter, TrainingRow};
use tidewatch::instant;
use tidewatch::models::{self, Models, ModelsError, Trained};
use tidewatch::series::SeriesName;
use tidewatch::train::{Progress, Request, TrainError, command, fit, train};
use training_series::{BUCKET, Curve, DAY, MONDAY, SIGMA, rows, stl};

/// A history that holds rows and nothing else.
struct Rows(Vec<(SeriesName, Vec<TrainingRow>)>);

impl History for Rows {
    fn sources(&mut self) -> Result<Vec<String>, HistoryError> {
        Ok(Vec::new())
    }

    fn series(&mut self) -> Result<Vec<Series>, HistoryError> {
        let series = |(name, _): &(SeriesName, _)| Series { name: name.clone(), labels: BTreeMap::new(), partition: "p".into() };
        Ok(self.0.iter().map(series).collect())
    }

    fn last_buckets(
        &mut self,
        from: dataflows::Time,
        until: dataflows::Time,
    ) -> Result<HashMap<dataflows::SeriesId, dataflows::Time>, HistoryError> {
        let rows = self.0.iter().flat_map(|(_, rows)| rows).filter(|row| (from..until).contains(&row.start));
        let mut last = HashMap::new();
        rows.for_each(|row| {
            let start = last.entry(row.series).or_insert(row.start);
            *start = row.start.max(*start);
        });
        Ok(last)
    }

    fn training_rows(
        &mut self,
        series: &[dataflows::SeriesId],
        from: dataflows::Time,
        until: dataflows::Time,
    ) -> Result<Vec<TrainingRow>, HistoryError> {
        let rows = self.0.iter().flat_map(|(_, rows)| rows);
        Ok(rows.filter(|row| series.contains(&row.series) && (from..until).contains(&row.start)).copied().collect())
    }

    fn migrate(&mut self) -> Result<Vec<String>, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn claim(&mut self, _: &str, _: i64) -> Result<bool, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn commit(&mut self, _: &Batch) -> Result<(), HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn position(&mut self, _: &str, _: i64) -> Result<Position, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn verdict(&mut self, _: &SeriesName, _: i64) -> Result<Option<dataflows::Verdict>, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn verdicts(&mut self, _: i64, _: i64, _: &mut dyn FnMut(dataflows::Verdict)) -> Result<(), HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn anomalies(&mut self, _: i64, _: i64) -> Result<Vec<Anomaly>, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn verdicts_of(&mut self, _: &SeriesName, _: i64, _: i64) -> Result<Vec<dataflows::Verdict>, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn select(&mut self, _: &Statement, _: &[Shape]) -> Result<Vec<Columns>, HistoryError> {
        // Nobody has labelled an incident.
        Ok(Vec::new())
    }
    fn execute(&mut self, _: &[Statement]) -> Result<u64, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn outcomes(&mut self) -> Result<BTreeMap<String, u64>, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
    fn letters(&mut self, _: &LetterFilter) -> Result<Vec<StoredLetter>, HistoryError> {
        unreachable!("the trainer only reads rows")
    }
}

/// `n` series of two days; those in `constant` never change.
fn history(n: u64, constant: &[u64]) -> Rows {
    let series = |seed: u64| {
        let name = SeriesName::new("server", &format!("srv-{seed:03}"), "cpu_usage_percent");
        let curve = Curve { seed, ..Curve::daily() };
        let mut rows = rows(&curve, MONDAY, MONDAY + 3 * DAY, |_, value| Some(if constant.contains(&seed) { 1.0 } else { value }));
        rows.iter_mut().for_each(|row| row.series = name.id());
        (name, rows)
    };
    Rows((0..n).map(series).collect())
}

fn store(folder: &tempfile::TempDir) -> Box<dyn Models> {
    models::open(&format!("embedded:{}", folder.path().join("models.db").display())).unwrap()
}

/// A store that keeps how many models were put at a time, and takes no more than so many parts of a push.
struct Parts {
    store: Box<dyn Models>,
    put: Vec<usize>,
    parts_max: usize,
}

impl Models for Parts {
    fn generation(&mut self) -> Result<u64, ModelsError> {
        self.store.generation()
    }
    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError> {
        self.store.load()
    }
    fn put(&mut self, models: &[Trained]) -> Result<(), ModelsError> {
        if self.put.len() == self.parts_max {
            let (place, problem) = ("here".into(), "away".into());
            return Err(ModelsError::Operation { place, operation: "writing", problem, transient: true });
        }
        self.put.push(models.len());
        self.store.put(models)
    }
    fn complete(&mut self) -> Result<u64, ModelsError> {
        self.store.complete()
    }
    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError> {
        self.store.get(series)
    }
}

/// All models used to be kept until the last one was fitted: memory grew with the number of series.
#[test]
fn models_are_put_group_by_group_and_count_as_one_push() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts { store: store(&folder), put: Vec::new(), parts_max: usize::MAX };
    let report = train(&mut history(300, &[]), &mut parts, &stl(MONDAY + 2 * DAY), &mut |_| ()).unwrap();
    assert_eq!((parts.put.as_slice(), report.generation), ([250, 50].as_slice(), Some(1)));
}

#[test]
fn a_training_that_dies_half_way_completes_no_push() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts { store: store(&folder), put: Vec::new(), parts_max: 1 };
    let error = train(&mut history(300, &[]), &mut parts, &stl(MONDAY + 2 * DAY), &mut |_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Models(_)), "{error}");
    assert_eq!(parts.generation().unwrap(), 0, "a detector would take half a push for news");
}

#[test]
fn a_run_trains_what_it_can_and_names_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let mut history = history(300, &[7, 8]);
    let mut seen = Vec::new();
    let request = stl(MONDAY + 2 * DAY);
    let report = train(&mut history, store.as_mut(), &request, &mut |progress| seen.push(progress)).unwrap();
    assert_eq!((report.total, report.trained, report.generation), (300, 298, Some(1)));
    assert_eq!(report.skipped["constant"].series, 2);
    assert_eq!(report.skipped["constant"].examples[0].0.entity_id, "srv-007");
    assert_eq!((seen[0].done, seen.last()), (0, Some(&Progress { done: 300, total: 300 })));
    let (models, broken) = store.load().unwrap();
    assert_eq!((models.len(), broken.len(), store.generation().unwrap()), (298, 0, 1));
    let (name, rows) = &history.0[42];
    assert_eq!(store.get(name).unwrap().unwrap(), fit(name, rows, &request).unwrap(), "in memory and through the store");
}

#[test]
fn a_skipped_series_keeps_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let mut quiet = |_: Progress| ();
    train(&mut history(3, &[]), store.as_mut(), &stl(MONDAY + 2 * DAY), &mut quiet).unwrap();
    let report = train(&mut history(3, &[1]), store.as_mut(), &stl(MONDAY + 3 * DAY), &mut quiet).unwrap();
    assert_eq!((report.trained, report.generation), (2, Some(2)));
    let (models, _) = store.load().unwrap();
    assert_eq!(models.len(), 5, "two series with the model before, one without");
}

#[test]
fn a_model_knows_how_many_metrics_its_entity_has_and_says_less_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let mut fleet = history(2, &[]);
    let (alone, rows) = fleet.0[0].clone();
    let until = MONDAY + 2 * DAY;
    // The last one comes after the training: it must not be known of.
    for (metric, later) in [("one", 0), ("two", 0), ("three", 0), ("future", 30 * DAY)] {
        let name = SeriesName { metric: metric.into(), ..fleet.0[1].0.clone() };
        let series = name.id();
        fleet.0.push((name, rows.iter().map(|row| TrainingRow { series, start: row.start + later, ..*row }).collect()));
    }
    train(&mut fleet, store.as_mut(), &Request::new(until, 0), &mut |_| ()).unwrap();
    let mut z_score = |name: &SeriesName| {
        let model = store.get(name).unwrap().unwrap().model;
        model.score(None, until, 1000.0, 1).0.unwrap().z_score.0
    };
    let of_four = SeriesName { metric: "one".into(), ..fleet.0[1].0.clone() };
    let (alone, of_four) = (z_score(&alone), z_score(&of_four));
    assert!(alone > 3.0 && (alone / of_four - 1.1).abs() < 1e-12, "{alone} alone, and {of_four} among four with the same buckets");
}

#[test]
fn a_young_series_borrows_the_same_profile_whatever_the_order_of_series() {
    let until = MONDAY + 3 * DAY;
    let mut fleet = history(5, &[]);
    let name = fleet.0[2].0.clone();
    fleet.0[2].1.retain(|row| row.start >= until - 3 * DAY / 2);
    let train_all = |fleet: &mut Rows| {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        let report = train(fleet, store.as_mut(), &Request::new(until, 0), &mut |_| ()).unwrap();
        assert_eq!(report.trained, 5, "{report}");
        store.load().unwrap().0
    };
    let models = train_all(&mut fleet);
    let young = models.iter().find(|trained| trained.series == name).unwrap();
    assert_eq!(young.provenance.borrowed(), Some("0.75 of 4 peers"));
    // Without peers it would have no profile, and miss the day's wave of 10.
    for start in (until..until + DAY).step_by(BUCKET as usize) {
        let missed = young.model.expected(start) - Curve::daily().at(start);
        assert!(missed.abs() < 4.0 * SIGMA, "{missed} at {}", instant::format(start));
    }
    fleet.0.reverse();
    fleet.0.swap(0, 1);
    assert_eq!(train_all(&mut fleet), models);
}

/// Disks fill for weeks and are cleaned up, on most hosts; errors are many on some hosts and rare on the others, where a fall would not be seen of a counter.
#[test]
fn the_series_of_a_metric_say_together_whether_they_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let series = |(metric, i): (&'static str, u64)| {
        let name = SeriesName::new("host", &format!("web-{i:02}"), metric);
        let mut rows = rows(&Curve { seed: i, ..Curve::daily() }, MONDAY, MONDAY + 3 * DAY, |start, _| {
            let slot = u32::try_from((start - MONDAY) / BUCKET).unwrap();
            Some(match (metric, i) {
                ("disk_percent", ..12) if slot > 700 => 38.0 + f64::from(slot) / 100.0,
                ("disk_percent", _) => 40.0 + f64::from(slot) / 100.0,
                (_, ..3) => f64::from(slot / 2),
                _ => f64::from(slot / 200),
            })
        });
        rows.iter_mut().for_each(|row| row.series = name.id());
        (name, rows)
    };
    let metrics = ["disk_percent", "errors"];
    let mut rows = Rows(metrics.into_iter().flat_map(|metric| (0..20).map(move |i| (metric, i))).map(series).collect());
    let mut models = store(&folder);
    let mut request = Request::new(MONDAY + 3 * DAY, 0);
    let report = train(&mut rows, &mut *models, &request, &mut |_| ()).unwrap();
    assert_eq!(report.trained, 40, "each counts once\n{report}");
    let typed = |models: &mut dyn Models, metric: &str| -> Vec<dataflows::MetricType> {
        let name = |i: u64| SeriesName::new("host", &format!("web-{i:02}"), metric);
        (0..20).map(|i| models.get(&name(i)).unwrap().unwrap().model.metric_type).collect()
    };
    assert_eq!(typed(&mut *models, "disk_percent"), [dataflows::MetricType::Gauge; 20]);
    let errors = typed(&mut *models, "errors");
    assert_eq!((&errors[..3], &errors[3..]), (&[dataflows::MetricType::Counter; 3][..], &[dataflows::MetricType::Gauge; 17][..]));
    // Who configures it knows better.
    request.metric_types = [("errors".into(), dataflows::MetricType::Gauge), ("disk_prcent".into(), dataflows::MetricType::Gauge)].into();
    (request.until, request.trained_at) = (request.until + BUCKET, 1);
    let report = train(&mut rows, &mut *models, &request, &mut |_| ()).unwrap().to_string();
    assert!(report.ends_with("no series has the metric disk_prcent, which has a type or a method of its own"), "{report}");
    assert_eq!(typed(&mut *models, "errors"), [dataflows::MetricType::Gauge; 20]);
}

#[test]
fn a_run_without_anything_to_train_pushes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let report = train(&mut Rows(vec![]), store.as_mut(), &stl(MONDAY), &mut |_| ()).unwrap();
    assert_eq!((report.generation, store.generation().unwrap()), (None, 0));
    let short = Request { window: DAY, ..stl(MONDAY) };
    let refused = train(&mut Rows(vec![]), store.as_mut(), &short, &mut |_| ());
    assert!(matches!(refused, Err(TrainError::Request(_))), "{refused:?}");
}

/// The arguments of `tidewatch train`, alone.
#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: command::Args,
}

fn arguments(folder: &tempfile::TempDir, more: &[&str]) -> command::Args {
    let models = format!("embedded:{}", folder.path().join("models.db").display());
    let line = ["train", "--history", "embedded:none", "--models", &models].into_iter().chain(more.iter().copied());
    Line::try_parse_from(line).unwrap().args
}

#[test]
fn the_command_prints_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    let open = |_: &str| -> Result<Box<dyn History>, HistoryError> { Ok(Box::new(history(2, &[1]))) };
    let args = arguments(&folder, &["--until", "2026-01-07T00:03:00Z", "--method", "stl_zscore"]);
    command::run(&args, &open, &mut out, &AtomicBool::new(false)).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("trained 1 of 2 series in ") && text.contains("generation 1"), "{text}");
    assert!(text.contains("skipped 1 as constant:"), "{text}");
}

#[test]
fn a_repeated_training_outlives_a_history_that_is_away_and_ends_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let tries = AtomicUsize::new(0);
    let open = |_: &str| -> Result<Box<dyn History>, HistoryError> {
        if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(HistoryError::Connect { place: "there".into(), problem: "away".into() });
        }
        stop.store(true, Ordering::Relaxed);
        Ok(Box::new(history(1, &[])))
    };
    let args = arguments(&folder, &["--every", "1s"]);
    let mut out = Vec::new();
    command::run(&args, &open, &mut out, &stop).unwrap();
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    assert!(String::from_utf8(out).unwrap().starts_with("trained 0 of 1"), "the rows are older than 14 days before now");
    let away = |_: &str| -> Result<Box<dyn History>, HistoryError> {
        Err(HistoryError::Connect { place: "there".into(), problem: "away".into() })
    };
    let once = command::run(&arguments(&folder, &[]), &away, &mut Vec::new(), &stop).unwrap_err();
    assert_eq!(once.to_string(), "history there: cannot connect: away");
}

/// Fault: raw samples were scored against the sigma of five-minute means, which is smaller by the root of 60.
#[test]
fn sigma_is_that_of_the_five_minute_means_that_are_scored() {
    let until = MONDAY + 14 * DAY;
    let curve = Curve::flat();
    let mean = |start: i64| {
        let samples = rows(&Curve { seed: start as u64, ..curve }, start * 60, (start + BUCKET) * 60, |_, value| Some(value));
        samples.iter().take(60).map(|row| 50.0 + (row.mean - 50.0) * 60_f64.sqrt()).sum::<f64>() / 60.0
    };
    let model = training_series::trained(&rows(&curve, MONDAY, until, |time, _| Some(mean(time))), until).model;
    assert!((0.9..1.2).contains(&(model.sigma / SIGMA)), "sigma {} where that of the samples is 7.7", model.sigma);
}

/// The series of real servers that lie beside the repository, or where `TIDEWATCH_DATA` says; by name, the rows of their history.
fn real_servers() -> Option<BTreeMap<String, Vec<(i64, f64)>>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("TIDEWATCH_DATA").map_or(beside, PathBuf::from);
    let file = folder.join("nab.csv.gz");
    if !file.exists() {
        let reason = "nab.csv.gz is not in ../shared/data: set TIDEWATCH_DATA to its folder";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    assert!(unpacked.status.success(), "gzip -dc failed");
    let mut series: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for line in String::from_utf8(unpacked.stdout).unwrap().lines() {
        let cells: Vec<&str> = line.split(',').collect();
        if cells[1].starts_with("realAWSCloudwatch.") && cells[5] == "train" {
            series.entry(cells[1].into()).or_default().push((instant::parse(cells[0]).unwrap(), cells[3].parse().unwrap()));
        }
    }
    Some(series)
}

#[test]
fn real_servers_train_on_two_days_or_say_why_not() {
    let Some(series) = real_servers() else { return };
    assert_eq!(series.len(), 17);
    let mut skipped = Vec::new();
    for (entity, samples) in series {
        let name = SeriesName::new("server", &entity, "value");
        let row = |(time, value): &(i64, f64)| TrainingRow { series: name.id(), start: *time, mean: *value, anomalous: false };
        let rows: Vec<TrainingRow> = samples.iter().map(row).collect();
        match fit(&name, &rows, &stl(rows[rows.len() - 1].start + BUCKET)) {
            Ok(trained) => assert_eq!(trained.model.defect(), None, "{entity}"),
            Err(reason) => skipped.push(format!("{entity} {}", reason.reason())),
        }
    }
    assert_eq!(skipped, ["realAWSCloudwatch.iio_us-east-1_i-a2eb1cd9_NetworkIn warming"]);
}
