//! The stores of models seen from outside: SQLite always, Redis where `TIDEWATCH_TEST_REDIS` names one.

use dataflows::{Calendar, Method, MetricType, Model, Seasonal, Time};
use std::sync::Arc;
use tidewatch::models::{self, Models, Provenance, Trained};
use tidewatch::series::SeriesName;

const DAY: Time = 86_400_000;

/// A model of `server:ENTITY:cpu_usage_percent` with numbers that no short decimal hits.
fn trained(entity: &str, trained_until: Time) -> Trained {
    let wave = |i: usize| (i as f64 / 288.0 * std::f64::consts::TAU).sin() * 10.0 / 3.0;
    let profile: Vec<f64> = (0..288).map(wave).collect();
    let offsets = vec![(trained_until - 14 * DAY, 19_800_000), (trained_until + DAY, 21_600_000)];
    let calendar = Calendar { zone: "Asia/Nowhere".into(), offsets, holidays: vec![20_729, 20_812] };
    let model = Model {
        bucket_width: 300_000,
        trained_from: trained_until - 14 * DAY,
        trained_until,
        level: 45.1 + 1e-13,
        sigma: std::f64::consts::PI / 7.0,
        seasonal: Seasonal::Daily(profile),
        calendar: Arc::new(calendar),
        method: Method::StlZscore,
        metric_type: MetricType::Gauge,
        cadence: dataflows::Cadence::Steady,
    };
    let provenance = Provenance {
        method: "stl_zscore".into(),
        parameters: serde_json::Map::new(),
        buckets: 4032,
        masked: 0,
        fill: 1.0,
        input_hash: "0123456789abcdef".into(),
        trained_at: trained_until + 1,
    };
    Trained { series: SeriesName::new("server", entity, "cpu_usage_percent"), model: Arc::new(model), provenance }
}

/// What every store must do.
fn keeps_the_contract(store: &mut dyn Models) {
    assert_eq!(store.generation().unwrap(), 0);
    assert_eq!(store.load().unwrap(), (vec![], vec![]));
    let first: Vec<Trained> = (0..700).map(|i| trained(&format!("srv-{i:03}"), 20 * DAY)).collect();
    assert_eq!(store.push(&first).unwrap(), 1);
    assert_eq!(store.load().unwrap(), (first.clone(), vec![]), "700 models, more than two chunks, bit for bit");
    assert_eq!(store.get(&first[3].series).unwrap().as_ref(), Some(&first[3]));
    assert_eq!(store.get(&SeriesName::new("server", "nobody", "cpu")).unwrap(), None);

    let second = vec![trained("srv-001", 21 * DAY), trained("srv-900", 21 * DAY)];
    assert_eq!(store.push(&second).unwrap(), 2);
    let (models, broken) = store.load().unwrap();
    assert_eq!((models.len(), broken.len()), (702, 0));
    let of = |entity: &str| -> Vec<Time> {
        models.iter().filter(|model| model.series.entity_id == entity).map(|model| model.model.trained_until / DAY).collect()
    };
    assert_eq!(of("srv-001"), [20, 21], "the newest and the one before it");
    assert_eq!(of("srv-000"), [20], "a series that is not pushed keeps its model");
    assert_eq!(of("srv-900"), [21]);

    let mut again = second[0].clone();
    Arc::make_mut(&mut again.model).level = 1.5;
    store.put(std::slice::from_ref(&second[1])).unwrap();
    store.put(std::slice::from_ref(&again)).unwrap();
    assert_eq!(store.generation().unwrap(), 2, "a push that goes on is no news");
    assert_eq!(store.complete().unwrap(), 3);
    let (models, _) = store.load().unwrap();
    assert_eq!(models.len(), 702, "the same end of training overwrites");
    assert_eq!(store.get(&again.series).unwrap(), Some(again));
}

/// What a push that fails half-way must do: the 500th model cannot be written.
fn a_push_that_dies_leaves_the_generation(store: &mut dyn Models) {
    let mut models: Vec<Trained> = (0..600).map(|i| trained(&format!("srv-{i:03}"), 20 * DAY)).collect();
    Arc::make_mut(&mut models[500].model).sigma = f64::NAN;
    let error = store.push(&models).unwrap_err().to_string();
    assert!(error.contains("'model:server:srv-500:cpu_usage_percent' is not a model: sigma"), "{error}");
    assert_eq!(store.generation().unwrap(), 0);
}

#[test]
fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}", folder.path().join("models.db").display());
    keeps_the_contract(models::open(&url).unwrap().as_mut());
    let mut reopened = models::open(&url).unwrap();
    assert_eq!((reopened.generation().unwrap(), reopened.load().unwrap().0.len()), (3, 702));
}

#[test]
fn a_push_to_sqlite_that_dies_half_way_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = models::open(&format!("embedded:{}", folder.path().join("models.db").display())).unwrap();
    a_push_that_dies_leaves_the_generation(store.as_mut());
    assert!(store.load().unwrap().0.is_empty());
}

#[test]
fn a_corrupt_document_in_sqlite_is_named_and_the_others_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.db");
    let mut store = models::open(&format!("embedded:{}", path.display())).unwrap();
    store.push(&[trained("a", DAY), trained("b", DAY)]).unwrap();
    let broken = "UPDATE model_documents SET document = substr(document, 1, 100) WHERE key = 'model:server:a:cpu_usage_percent'";
    rusqlite::Connection::open(&path).unwrap().execute(broken, []).unwrap();
    let (models, named) = store.load().unwrap();
    assert_eq!(models, [trained("b", DAY)]);
    assert!(named.len() == 1 && named[0].starts_with("model:server:a:cpu_usage_percent: "), "{named:?}");
    let error = store.get(&SeriesName::new("server", "a", "cpu_usage_percent")).unwrap_err().to_string();
    assert!(error.contains("'model:server:a:cpu_usage_percent' is not a model"), "{error}");
}

#[test]
fn a_url_that_names_no_store_gets_one_clear_line() {
    for (url, words) in [
        ("postgres://me:secret@host/db", "'postgres://me:***@host/db': no models are stored in 'postgres': write embedded:PATH, redis://"),
        ("models.db", "'models.db': the scheme is missing: write embedded:PATH"),
        ("embedded:", "the path is missing"),
        ("embedded:/proc/nowhere/at/all.db", "cannot create the folder /proc/nowhere/at"),
        ("redis://me:secret@127.0.0.1:1/0", "models redis://me:***@127.0.0.1:1/0: cannot connect: "),
        ("redis://me:secret@127.0.0.1:1/zero", "redis://me:***@127.0.0.1:1/zero"),
    ] {
        let Err(error) = models::open(url) else { panic!("{url} was opened") };
        let error = error.to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// The URL of an emptied database of the Redis server that tests may use; each test has a number of its own.
fn redis(database: u8) -> Option<(String, redis::Connection)> {
    let Ok(server) = std::env::var("TIDEWATCH_TEST_REDIS") else {
        let reason = "TIDEWATCH_TEST_REDIS is not set, for example to redis://127.0.0.1:6379 (its databases 8 to 15 are emptied)";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        eprintln!("skipped: {reason}");
        return None;
    };
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&format!("/{database}"));
    let mut connection = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
    redis::cmd("FLUSHDB").exec(&mut connection).unwrap();
    Some((url.into(), connection))
}

#[test]
fn redis_keeps_the_contract() {
    let Some((url, _)) = redis(8) else { return };
    keeps_the_contract(models::open(&url).unwrap().as_mut());
}

#[test]
fn a_push_to_redis_that_dies_half_way_leaves_the_generation() {
    let Some((url, _)) = redis(9) else { return };
    a_push_that_dies_leaves_the_generation(models::open(&url).unwrap().as_mut());
}

/// The prototype's models expired after 15 minutes and were trained every 60.
#[test]
fn a_model_in_redis_does_not_expire_and_a_person_can_read_it() {
    let Some((url, mut connection)) = redis(10) else { return };
    let mut store = models::open(&url).unwrap();
    store.push(&[trained("srv-001", DAY)]).unwrap();
    store.push(&[trained("srv-001", 2 * DAY)]).unwrap();
    for key in ["model:server:srv-001:cpu_usage_percent", "previous_model:server:srv-001:cpu_usage_percent", "models:generation"] {
        let seconds: i64 = redis::cmd("TTL").arg(key).query(&mut connection).unwrap();
        assert_eq!(seconds, -1, "{key}: -1 is there for ever, -2 is not there");
    }
    let text: String = redis::cmd("GET").arg("model:server:srv-001:cpu_usage_percent").query(&mut connection).unwrap();
    assert!(text.contains(r#""trained_until":"1970-01-03T00:00:00Z""#), "{text}");
}

#[test]
fn a_corrupt_document_in_redis_is_named_and_the_others_load() {
    let Some((url, mut connection)) = redis(11) else { return };
    let mut store = models::open(&url).unwrap();
    store.push(&[trained("a", DAY), trained("b", DAY)]).unwrap();
    redis::cmd("SET").arg("model:server:a:cpu_usage_percent").arg("{}").exec(&mut connection).unwrap();
    redis::cmd("SET").arg("modelling").arg("not ours").exec(&mut connection).unwrap();
    let (models, named) = store.load().unwrap();
    assert_eq!(models, [trained("b", DAY)]);
    assert!(named.len() == 1 && named[0].starts_with("model:server:a:cpu_usage_percent: "), "{named:?}");
}

#[test]
fn redis_answers_again_after_its_connection_was_cut() {
    let Some((url, mut connection)) = redis(12) else { return };
    let mut store = models::open(&url).unwrap();
    store.push(&[trained("a", DAY)]).unwrap();
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection).unwrap();
    let own: i64 = redis::cmd("CLIENT").arg("ID").query(&mut connection).unwrap();
    let field = |client: &str, name: &str| client.split(' ').find_map(|field| field.strip_prefix(name).map(str::to_owned));
    for client in clients.lines().filter(|client| field(client, "db=").as_deref() == Some("12")) {
        let id = field(client, "id=").unwrap();
        if id != own.to_string() {
            redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).exec(&mut connection).unwrap();
        }
    }
    let error = store.generation().unwrap_err();
    assert!(matches!(error, models::ModelsError::Operation { transient: true, .. }), "{error}");
    assert_eq!(store.generation().unwrap(), 1);
}

#[test]
fn memory_sqlite_and_redis_hold_the_same_bits() {
    let Some((url, _)) = redis(13) else { return };
    let folder = tempfile::tempdir().unwrap();
    let models: Vec<Trained> = (0..50).map(|i| trained(&format!("srv-{i:02}"), DAY)).collect();
    for url in [url, format!("embedded:{}", folder.path().join("m.db").display())] {
        let mut store = models::open(&url).unwrap();
        store.push(&models).unwrap();
        let (stored, _) = store.load().unwrap();
        for (a, b) in models.iter().zip(&stored) {
            for start in (DAY..3 * DAY).step_by(300_000) {
                assert_eq!(a.model.score(None, start, 47.3, 1), b.model.score(None, start, 47.3, 1));
            }
        }
    }
}
