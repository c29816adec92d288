//! The page in a real browser, while a run goes on behind it. Without a Chromium these tests say so and pass; under `CI=true` they fail.

mod browser;
#[path = "../system/jump.rs"]
mod jump;
#[path = "../system/support.rs"]
#[allow(dead_code)] // other tests need more of it
mod support;

use browser::Browser;
use support::{Place, Running};

const LINE: &str = "--source simulate:chaos --seed 7 --start 2026-01-19T00:00:00Z --backfill 3d --speed 60 --no-raw --listen 127.0.0.1:0";

fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "there is no Chromium");
        eprintln!("SKIPPED: there is no Chromium; scripts/install brings one");
    }
    browser
}

/// A run with its page, and where that is.
fn start(place: &Place, line: &str) -> (Running, String) {
    let mut run = place.call(line).env("TIDEWATCH_NO_PAGE", "no").start();
    let address = address(&mut run);
    (run, address)
}

fn address(run: &mut Running) -> String {
    assert!(run.says("listening at http://"), "{}", run.stderr());
    let text = run.stderr();
    format!("http://{}", text.split("listening at http://").nth(1).unwrap().split_whitespace().next().unwrap())
}

/// What everybody may expect of a page: landmarks, one heading of the first rank, names for whatever can be pressed, and no scrolling sideways.
const ORDERLY: &str = "(() => {
    const wrong = [];
    for (const landmark of ['header', 'main', 'nav', 'footer']) if (!document.querySelector(landmark)) wrong.push(`no ${landmark}`);
    if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
    for (const e of document.querySelectorAll('button, a[href]:not(.modebar-btn)')) if (!(e.textContent.trim() || e.getAttribute('aria-label'))) wrong.push(`no name: ${e.outerHTML}`);
    for (const e of document.querySelectorAll('input, select')) if (!e.labels.length) wrong.push(`no label: ${e.outerHTML}`);
    for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) wrong.push(`no alt: ${e.outerHTML}`);
    if (document.documentElement.scrollWidth > innerWidth) wrong.push(`${document.documentElement.scrollWidth} wide on ${innerWidth}`);
    return wrong.join('; ');
})()";

/// Looks at a page in the light, in the dark and on a phone.
fn look(browser: &mut Browser, name: &str) {
    assert_eq!(browser.evaluate(ORDERLY), "", "{name}");
    browser.screenshot(&format!("{name}-light"));
    browser.dark(true);
    browser.screenshot(&format!("{name}-dark"));
    browser.dark(false);
    browser.window(390, 844, true);
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(browser.evaluate(ORDERLY), "", "{name} on a phone");
    browser.screenshot(&format!("{name}-phone"));
    browser.window(1280, 900, false);
}

/// The width of the shown span, in milliseconds.
const SHOWN: &str = "(([from, until]) => (t => t(until) - t(from))(x => Date.parse(String(x).replace(' ', 'T').replace(/Z?$/, 'Z'))))(document.getElementById('curve').layout.xaxis.range)";

/// The buttons that remove a silence and do not say of which metric.
const REMOVE_NAMES: &str = "[...document.querySelectorAll('#silences tbody tr')].filter((row) => {
    const [entity, metric] = [row.cells[0].textContent, row.cells[1].textContent], name = row.querySelector('button').getAttribute('aria-label');
    return !name.includes(`${metric} of ${entity}`);
}).map((row) => row.textContent).join('; ')";

#[test]
fn an_injected_anomaly_appears_without_reload_and_its_cause_and_curve_are_two_clicks_away() {
    let Some(mut browser) = browser() else { return };
    let place = Place::new();
    let (run, address) = start(&place, LINE);
    browser.open(&address);
    browser.evaluate("window.marker = 'not reloaded'");
    browser.comes_to("/No verdicts yet|No models yet|training/i.test(document.getElementById('notices').textContent)");
    look(&mut browser, "overview-starting");
    browser.comes_to("document.querySelectorAll('[data-incident]').length > 2 && document.querySelectorAll('.heat canvas').length > 20");
    assert_eq!(browser.evaluate("window.marker"), "not reloaded");
    // The simulator puts a failing fan into this server at the start.
    browser.comes_to("document.getElementById('incidents').textContent.includes('srv-038')");
    look(&mut browser, "overview");
    assert_eq!(browser.evaluate("document.querySelectorAll('.heat canvas:not([role=img])').length"), 0);
    let heard = browser.evaluate("document.querySelector('.heat canvas').getAttribute('aria-label')");
    assert!(heard.as_str().unwrap().contains("with a score"), "{heard}");
    browser.click("#spans [data-span='24h']");
    browser.comes_to("location.search === '?span=24h'");
    browser.open(&format!("{address}/?span=1h"));
    browser.comes_to("document.querySelector('#spans [data-span=\"1h\"]').getAttribute('aria-pressed') === 'true' && document.querySelectorAll('.heat canvas').length > 20");
    browser.open(&address);
    browser.comes_to("document.querySelectorAll('[data-incident]').length > 2 && document.querySelectorAll('.heat canvas').length > 20");
    browser.press("Tab");
    assert_eq!(browser.evaluate("document.activeElement.className"), "skip", "the keyboard comes to the content first");

    browser.click("#incidents tbody a");
    browser.comes_to(
        "document.querySelector('#curve .main-svg') !== null && document.getElementById('arithmetic').textContent.includes('z_score')",
    );
    look(&mut browser, "incident");
    let head = browser.evaluate("document.getElementById('summary').textContent");
    assert!(head.as_str().unwrap().contains("evidence from") && head.as_str().unwrap().contains("deviating bucket"), "{head}");
    browser.click("[data-label=useful]");
    browser.comes_to("document.querySelector('[data-label=useful]').getAttribute('aria-pressed') === 'true'");
    browser.comes_to("document.getElementById('said').textContent.includes('the next training')");
    assert_eq!(place.count("SELECT count(*) FROM incident_labels WHERE label = 'useful'"), 1);

    browser.click("#more");
    browser.comes_to("document.querySelector('#parts .main-svg') !== null");
    browser.comes_to("document.getElementById('parts').data.every((part) => part.y.some((value) => value !== null))");
    look(&mut browser, "series");
    let day = browser.evaluate(SHOWN).as_f64().unwrap();
    assert!((day - 86_400_000.0).abs() < 1000.0, "{day}");
    browser.click("[data-move=in]");
    browser.comes_to(&format!("Math.abs({SHOWN} - {}) < 1000", day / 2.0));
    let middle = |share: f64| {
        format!(
            "(r => [r.left + r.width * {share}, r.top + r.height / 2])(document.querySelector('#curve .nsewdrag').getBoundingClientRect())"
        )
    };
    browser.evaluate("document.getElementById('curve').scrollIntoView({ block: 'center' })");
    let corners: Vec<(f64, f64)> = [0.25, 0.75]
        .map(|share| browser.evaluate(&middle(share)))
        .iter()
        .map(|at| (at[0].as_f64().unwrap(), at[1].as_f64().unwrap()))
        .collect();
    browser.drag(corners[0], corners[1]);
    browser.comes_to(&format!("{SHOWN} < {}", day / 3.0));
    // What is new comes in, and the view stays.
    let before = browser.evaluate("document.getElementById('stage').textContent");
    browser.comes_to(&format!("document.getElementById('stage').textContent !== {before}"));
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(browser.evaluate(SHOWN).as_f64().unwrap() < day / 3.0, "the zoom is lost");
    for span in ["1h", "14d"] {
        browser.click(&format!("[data-span='{span}']"));
        let length = if span == "1h" { 3_600_000.0 } else { 14.0 * 86_400_000.0 };
        browser.comes_to(&format!("Math.abs({SHOWN} - {length}) < 1000"));
        browser.screenshot(&format!("series-{span}"));
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());

    browser.open(&format!("{address}/series"));
    browser.comes_to("document.querySelectorAll('#names tbody tr').length > 50");
    look(&mut browser, "names");
    browser.click("#more");
    browser.comes_to(
        "document.querySelectorAll('#names tbody tr').length === 400 && document.getElementById('more').textContent === 'Show 200 more'",
    );
    // The address that a dashboard knows.
    browser.open(&format!("{address}/series/srv-001/cpu_usage_percent"));
    browser.comes_to(
        "location.pathname === '/series/server%3Asrv-001%3Acpu_usage_percent' && document.querySelector('#curve .main-svg') !== null",
    );
    browser.open(&format!("{address}/series/server%3Anobody%3Anothing"));
    browser.comes_to("document.getElementById('main').textContent.includes('there is no series')");
    // That the interface answers 404 is told in the console.
    assert_eq!(browser.complaints().len(), 1);
    drop(run);
    browser.comes_to("document.getElementById('stage').textContent.includes('does not answer')");
}

#[test]
fn an_incident_that_was_expected_is_silenced_by_a_button_and_withdrawn_by_the_run() {
    let Some(mut browser) = browser() else { return };
    let place = Place::new();
    let (_run, address) = start(&place, LINE);
    browser.open(&address);
    browser.comes_to("document.querySelectorAll('[data-incident]').length > 0");
    browser.click("#incidents tbody a");
    browser.comes_to("document.getElementById('actions')?.hidden === false && document.querySelector('#episodes tbody tr') !== null");
    browser.click("#expected");
    browser.comes_to("/silenced until/.test(document.getElementById('said').textContent)");
    assert_eq!(browser.evaluate("document.activeElement.id"), "said", "the keyboard goes on where it was");
    browser.comes_to("/Withdrawn: /.test(document.getElementById('summary').textContent)");
    look(&mut browser, "incident-withdrawn");
    browser.open(&format!("{address}/silences"));
    browser.comes_to("document.querySelectorAll('#silences tbody tr').length > 0");
    look(&mut browser, "silences");
    assert_eq!(browser.evaluate(REMOVE_NAMES), "", "each button says what it removes");
    while browser.evaluate("document.querySelectorAll('#silences tbody tr').length").as_u64() > Some(0) {
        let left = browser.evaluate("document.querySelectorAll('#silences tbody tr').length");
        browser.click("#silences button");
        browser.comes_to(&format!("document.querySelectorAll('#silences tbody tr').length < {left}"));
        browser.comes_to("document.activeElement.matches('#said, #silences button')");
        assert!(browser.evaluate("document.getElementById('said').textContent").as_str().unwrap().starts_with("Removed: "));
    }
    browser.open(&format!("{address}/incidents?status=withdrawn"));
    browser.comes_to("document.querySelectorAll('[data-incident]').length > 0");
    look(&mut browser, "incidents");
    let count = "document.getElementById('count').textContent";
    let withdrawn = browser.evaluate(count);
    assert!(withdrawn.as_str().unwrap().contains("withdrawn incident"), "{withdrawn}");
    browser.click("[data-status='']");
    browser.comes_to(&format!("/^\\d+ incident/.test({count}) && location.search === '?span=24h'"));
    browser.click("[data-span='14d']");
    browser.comes_to(&format!("{count}.includes('last 14 d') && location.search === '?span=14d'"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_run_without_models_says_that_nothing_is_scored() {
    let Some(mut browser) = browser() else { return };
    let place = Place::new();
    let (mut run, pipe) = place.call("--source file:- --listen 127.0.0.1:0").env("TIDEWATCH_NO_PAGE", "no").piped();
    let address = address(&mut run);
    browser.open(&address);
    browser.comes_to("document.getElementById('notices').textContent.includes('No models yet, so nothing is scored')");
    browser.comes_to("document.getElementById('incidents').textContent.includes('there are no models yet')");
    look(&mut browser, "overview-empty");
    browser.open(&format!("{address}/silences"));
    browser.comes_to("document.getElementById('silences').textContent.includes('No silences')");
    browser.open(&format!("{address}/series"));
    browser.comes_to("document.getElementById('names').textContent.includes('No series yet')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(pipe);
}

#[test]
fn a_series_that_accompanies_another_says_which_one_speaks() {
    let Some(mut browser) = browser() else { return };
    let place = Place::new();
    place.write("metrics.csv", jump::table());
    place.run(jump::BACKTEST).well();
    let (mut run, pipe) = place
        .call("--source file:- --history embedded:past.db --models embedded:past.db --listen 127.0.0.1:0")
        .env("TIDEWATCH_NO_PAGE", "no")
        .piped();
    let address = address(&mut run);
    browser.open(&format!("{address}/series/server:srv-1:memory?until=2026-01-19T12:00:00Z"));
    browser.comes_to("/^1 accompanying bucket; load speaks for it$/.test(document.getElementById('beside')?.textContent)");
    assert_eq!(browser.evaluate("document.getElementById('anomalies').textContent.includes('None of its own.')"), true);
    browser.comes_to("document.querySelector('#curve .main-svg') !== null");
    look(&mut browser, "series-accompanying");
    browser.click("#beside a");
    browser.comes_to("document.querySelectorAll('#anomalies tbody tr').length > 0");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(pipe);
}
