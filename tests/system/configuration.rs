//! Flags, environment and file are layers of one configuration, and kinds make somebody else's JSON readable.

use crate::support::Place;

/// Ten minutes that end at each layer's own number of records.
const GENERATE: &str = "generate --to file:x.jsonl --preset dev --backfill 0s --speed max --start 2026-01-19T00:00:00Z";

/// How many records a layer's `for` comes to: 38 entities each five seconds.
fn minutes(place: &Place) -> usize {
    std::fs::read_to_string(place.path("x.jsonl")).unwrap().lines().count() / (38 * 12)
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let place = Place::new();
    place.write("tidewatch.toml", "for = \"1m\"\nlateness = \"2h\"\nno-raw = false\n");
    let call = |line: &str| place.call(&format!("{GENERATE}{line}")).env("TIDEWATCH_CONFIG", "tidewatch.toml");
    call("").finish().well();
    assert_eq!(minutes(&place), 1, "the file");
    call("").env("TIDEWATCH_FOR", "2m").finish().well();
    assert_eq!(minutes(&place), 2, "the environment");
    call(" --for 3m").env("TIDEWATCH_FOR", "2m").finish().well();
    assert_eq!(minutes(&place), 3, "the flag");
    place.call(GENERATE).env("TIDEWATCH_FOR", "4m").finish().well();
    assert_eq!(minutes(&place), 4, "the environment without a file");
}

#[test]
fn a_configuration_reaches_the_default_command_and_a_named_one() {
    let place = Place::new();
    place.write("x.jsonl", "");
    place.write(
        "tidewatch.toml",
        "source = \"file:x.jsonl\"\nhistory = \"embedded:here.db\"\nmodels = \"embedded:here.db\"\nthreads = 2\nno-raw = true\n",
    );
    for line in ["--config tidewatch.toml", "--config=tidewatch.toml -w 1", "run --config tidewatch.toml"] {
        place.run(line).well();
        assert!(place.path("here.db").is_file() && !place.path("tidewatch-data").exists(), "{line}");
        std::fs::remove_file(place.path("here.db")).unwrap();
    }
}

/// Failed once: the second run read no record, and came to buckets without episodes and incidents.
#[test]
fn a_log_of_which_nothing_was_understood_is_read_from_its_beginning_by_kinds_that_fit() {
    let log: String = (0..3000)
        .map(|i| {
            // One of the pumps is silent for an hour.
            let flow = if i % 3 == 1 && (900..1800).contains(&i) { String::new() } else { format!(r#","flow":{}"#, i % 7) };
            format!("{{\"type\":\"pump\",\"station\":\"north-{}\",\"at\":{},\"level\":1{flow}}}\n", i % 3, 1_768_780_800 + 12 * i)
        })
        .collect();
    let run = |place: &Place, kind: &str| {
        place.write("pumps.jsonl", &log);
        place.write("tidewatch.toml", format!("[kinds.{kind}]\nentity = \"station\"\ntime = \"at\"\n"));
        place.run("run --source file:pumps.jsonl --config tidewatch.toml")
    };
    let (once, twice) = (Place::new(), Place::new());
    let wanted = run(&once, "pump").well().digest();
    assert!(!wanted.contains(" 0 episodes"), "{wanted}");
    run(&twice, "pmup").error(&["not one record is an event", "unknown_kind", "from its beginning"]);
    // Failed once: what was refused anew kept the reason of the time before.
    twice.write("tidewatch.toml", "[kinds.pump]\nentity = \"station\"\n");
    twice.run("run --source file:pumps.jsonl --config tidewatch.toml").error(&["3000 no_time"]);
    let letters = twice.run("dead-letters --reason no_time --limit 1").well().stdout;
    assert!(letters.contains("no_time  ") && !letters.contains("not configured"), "{letters}");
    assert_eq!(run(&twice, "pump").well().digest(), wanted);
    assert_eq!(twice.count("SELECT sum(records) FROM outcomes WHERE outcome = 'event'"), 3000);
}

/// Failed once: incidents were taken back by a run that had lost its kinds, and nothing said why.
#[test]
fn a_restart_that_understands_nothing_of_what_it_reads_again_says_so() {
    let place = Place::new();
    let record = |i: i64| format!("{{\"station\":\"north\",\"at\":{},\"level\":{}}}\n", 1_768_780_800 + 60 * i, i % 5);
    place.write("pumps.jsonl", (0..60).map(record).collect::<String>());
    place.write("tidewatch.toml", "[kinds.pump]\nentity = \"station\"\ntime = \"at\"\n");
    let run = |flags: &str| place.run(&format!("run --source file:pumps.jsonl {flags}")).well();
    let first = run("--config tidewatch.toml");
    let without = run("").stderr;
    assert!(without.contains("records that are read again is understood") && without.contains("another configuration"), "{without}");
    assert!(!first.stderr.contains("read again"), "{}", first.stderr);
    let again = run("--config tidewatch.toml");
    assert!(!again.stderr.contains("read again"), "{}", again.stderr);
    assert_eq!(again.digest(), first.digest());
    // Failed once: of what never was understood nothing is lost, and what there was no room for was an event.
    place.write("rubbish.jsonl", "what is this?\n".repeat(20));
    let busy =
        |flags: &str| place.run(&format!("run --source file:pumps.jsonl,rubbish.jsonl --config tidewatch.toml {flags}")).well().stderr;
    for flags in ["", "", "--entities-max 1"] {
        let said = busy(flags);
        assert!(!said.contains("read again"), "{said}");
    }
}

/// As docs/services.md says it.
#[test]
fn what_telegraf_writes_is_read_by_a_kind_that_names_what_is_inside() {
    let place = Place::new();
    let documented = include_str!("../../docs/services.md");
    let block = |language: &str, holding: &str| {
        let fence = format!("```{language}\n");
        let mut blocks = documented.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
        blocks.find(|block| block.contains(holding)).unwrap().to_owned()
    };
    place.write("tidewatch.toml", block("toml", "[kinds.telegraf]"));
    let record = block("json", "usage_idle");
    // Failed once: what one host measures of two things by one name were samples of one series.
    let of = |from: &str, to: &str| record.replace(from, to);
    let records = [record.clone(), of("\"cpu0\"", "\"cpu1\""), of("\"cpu\",", "\"load\",").replace("\"cpu\":\"cpu0\",", "")];
    let at =
        |minute: i64| records.each_ref().map(|record| record.replace("1769000000", &(1_769_000_000 + 60 * minute).to_string())).concat();
    place.write("log.jsonl", (0..10).map(at).collect::<String>());
    place.run("run --source file:log.jsonl --config tidewatch.toml").well();
    let series = "SELECT count(*) FROM series WHERE entity_type = 'telegraf' AND entity_id = 'web-1' AND metric IN
        ('cpu.cpu0.usage_idle', 'cpu.cpu1.usage_user', 'load.usage_idle')";
    assert_eq!((place.count(series), place.count("SELECT count(*) FROM series")), (3, 6));
    assert_eq!(place.count("SELECT count(*) FROM placements WHERE rack = 'r7'"), 1);
}

/// Failed once: a rack, or a metric, that was spelt otherwise than in the records was switched off without a word.
#[test]
fn what_a_kind_names_and_no_record_has_is_warned_of() {
    let place = Place::new();
    let record = |minute: u32| {
        format!(r#"{{"type":"pump","station":"p1","site":"n","timestamp":{},"flow_lps":3}}"#, 1_769_000_000 + 60 * minute) + "\n"
    };
    place.write("pumps.jsonl", (0..30).map(record).collect::<String>());
    let run = |table: &str| {
        place.write("tidewatch.toml", format!("[kinds.pump]\nentity = \"station\"\n{table}\n"));
        place.run("run --source file:pumps.jsonl --config tidewatch.toml").well().stderr
    };
    let misspelt = run("metrics = [\"flow_*\", \"presure\"]\nlabels = [\"siet\"]");
    assert!(misspelt.contains("kind pump: no record has 'presure', 'siet' so far"), "{misspelt}");
    let right = run("metrics = [\"flow_*\"]\nlabels = []");
    assert!(!right.contains("no record has"), "{right}");
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_its_place() {
    let cases: [(&str, &[&str]); 14] = [
        ("[kinds.x]\nentity = \"a\"\nprefix = [\"tags.*\"]\n", &["kind 'x'", "'tags.*' in prefix is no name of a field"]),
        ("[kinds.x]\nentity = \"a\"\nentity_type = \"b:c\"\n", &["kind 'x'", "the entity_type 'b:c' stands before the colon"]),
        ("latness = \"2h\"", &["latness", "did you mean 'lateness'?"]),
        ("xyzzy = 1", &["xyzzy", "tidewatch help run"]),
        ("x = = ", &["is not TOML", "line 1"]),
        ("source = \"simulate:dev\"\nhistory = \"embedded", &["is not TOML", "line 2"]),
        ("[kinds.x]\nentitty = \"a\"\n", &["kinds", "entitty", "`entity`"]),
        ("[kinds.x]\ntime = \"at\"\n", &["kinds", "entity"]),
        ("kinds = 7", &["kinds"]),
        ("lateness = { hours = 1 }", &["lateness", "must be a text, a number, a date, a list of these, or true"]),
        ("timezone = \"Europe/Berln\"", &["--timezone", "did you mean Europe/Berlin?", "configuration"]),
        ("holidays = [2026-12-25, \"Berlin:2026-10-03\"]", &["--holidays", "did you mean Europe/Berlin?", "configuration"]),
        ("lateness = \"soon\"", &["soon", "--lateness", "configuration"]),
        ("threads = 0", &["--threads", "1..=512", "configuration"]),
    ];
    for (text, parts) in cases {
        let place = Place::new();
        place.write("wrong.toml", text);
        let error = place.run("--config wrong.toml").error(parts);
        assert!(error.contains("wrong.toml") || error.contains("the configuration file says"), "{text}: {error}");
    }
    Place::new().run("--config nowhere.toml").error(&["nowhere.toml", "--config", "No such file"]);
    Place::new().call("").env("TIDEWATCH_CONFIG", "nowhere.toml").finish().error(&["nowhere.toml", "TIDEWATCH_CONFIG"]);
    Place::new().call("").env("TIDEWATCH_LATENESS", "soon").finish().error(&["soon", "--lateness", "TIDEWATCH_LATENESS"]);
    Place::new().call("").env("TIDEWATCH_THREADS", "0").finish().error(&["--threads", "TIDEWATCH_THREADS"]);
}

#[test]
fn a_kind_of_the_configuration_watches_somebody_elses_json() {
    let place = Place::new();
    let config = r#"
        source = "file:probe.jsonl"
        [kinds.probe]
        entity = "sensor"
        entity_type = "pump"
        time = "at"
        labels = ["hall"]
        metrics = ["bar", "celsius"]
        [kinds.server_metric]
        entity = "host"
        time = "epoch"
    "#;
    place.write("tidewatch.toml", config);
    let mut lines = String::new();
    for second in 0..600 {
        lines += &format!(
            "{{\"type\":\"probe\",\"sensor\":\"p1\",\"at\":{},\"hall\":\"north\",\"bar\":{second},\"celsius\":9.5,\"serial\":77}}\n",
            1_768_780_800 + second
        );
        // Without a type, a record is known by the field of its entity.
        lines += &format!("{{\"sensor\":\"p2\",\"at\":\"2026-01-19T00:{:02}:{:02}Z\",\"bar\":1}}\n", second / 60, second % 60);
    }
    lines += "{\"host\":\"h\",\"epoch\":1768781399,\"load\":2}\n";
    lines += "{\"type\":\"server_metric\",\"server_id\":\"srv-1\",\"timestamp\":\"2026-01-19T00:09:59Z\",\"cpu\":2}\n";
    place.write("probe.jsonl", lines);
    let outcome = place.run("--config tidewatch.toml").well();
    assert!(outcome.stderr.contains(" 1 refused"), "the built-in kind was replaced: {}", outcome.stderr);
    let database = place.database();
    let mut statement =
        database.prepare("SELECT entity_type || ':' || entity_id || ':' || metric || ' ' || labels FROM series ORDER BY 1").unwrap();
    let series: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let expected = [r#"pump:p1:bar {"hall":"north"}"#, r#"pump:p1:celsius {"hall":"north"}"#, "pump:p2:bar {}", "server_metric:h:load {}"];
    assert_eq!(series, expected);
    assert_eq!(place.count("SELECT sum(count) FROM buckets"), 600 * 3 + 1);
    let text = place.run("explain pump:p1 bar 2026-01-19T00:07:00Z").well().stdout;
    assert!(text.contains("300 samples between 300 and 599"), "{text}");
}

#[test]
fn a_misspelt_variable_is_refused_and_a_foreign_one_left_alone() {
    let place = Place::new();
    place
        .call("completions bash")
        .env("TIDEWATCH_LATENES", "2h")
        .finish()
        .error(&["TIDEWATCH_LATENES", "did you mean TIDEWATCH_LATENESS?"]);
    place.call("completions bash").env("TIDEWATCH_SERVICE_HOST", "10.0.0.7").env("TIDEWATCH_PORT_8080_TCP", "x").finish().well();
}

#[test]
fn a_metric_with_limits_of_its_own_that_no_series_has_is_warned_of() {
    let place = Place::new();
    let record = |minute: i64| format!("{{\"server_id\":\"a\",\"timestamp\":{},\"cpu\":3}}\n", 1_769_000_000 + 60 * minute);
    place.write("log.jsonl", (0..30).map(record).collect::<String>());
    // At the end where nothing was known before, and at the beginning of the next run.
    for limits in ["--metric-direction cpu=above,dsik=below", "--metric-threshold dsik=4", "--minimum-deviation cpu=1,dsik=2"] {
        let said = place.run(&format!("run --source file:log.jsonl {limits}")).well().stderr;
        assert_eq!(said.matches("no series of history is of the metric 'dsik'").count(), 1, "{limits}: {said}");
    }
    let said = place.run("run --source file:log.jsonl --metric-threshold cpu=4 --threshold 5").well().stderr;
    assert!(!said.contains("no series of history"), "{said}");
}
