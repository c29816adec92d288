//! A Chromium without a window, spoken to through a pipe in the DevTools protocol: JSON, each message ended by a zero byte.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing that a test waits for takes so long on a small machine.
const LIMIT: Duration = Duration::from_secs(180);

/// What Chromium answers where a page was left while a value of it was asked for.
const GONE: [&str; 2] = ["Inspected target navigated or closed", "Execution context was destroyed."];

/// A browser with one page. It ends when it is let go.
pub struct Browser {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the console of the page complained of.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// A browser, or `None` where there is no Chromium.
    pub fn start() -> Option<Self> {
        let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        })?;
        let profile = tempfile::tempdir().unwrap();
        let flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions --hide-scrollbars \
                     --disable-background-networking --remote-debugging-pipe";
        // Chromium reads from the third and writes to the fourth descriptor.
        let line =
            format!("exec {name} {flags} --user-data-dir={} about:blank 3<&0 4>&1 1>/dev/null 2>/dev/null", profile.path().display());
        let mut child = Command::new("sh").args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, orders, answers, session: None, last: 0, complaints: Vec::new(), _profile: profile };
        let target = browser.order("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.order("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(Into::into);
        for domain in ["Page", "Runtime", "Log"] {
            browser.order(&format!("{domain}.enable"), &json!({}));
        }
        browser.window(1280, 900, false);
        Some(browser)
    }

    fn order(&mut self, method: &str, parameters: &Value) -> Value {
        self.answer(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// What the browser answers to an order, or the error that it answers with.
    fn answer(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        self.orders.write_all(order.to_string().as_bytes()).unwrap();
        self.orders.write_all(&[0]).unwrap();
        let since = Instant::now();
        loop {
            match self.answers.recv_timeout(Duration::from_secs(1)) {
                Ok(answer) if answer["id"] == self.last => {
                    return if answer["error"].is_null() { Ok(answer["result"].clone()) } else { Err(answer["error"].clone()) };
                }
                Ok(event) => self.hear(&event),
                Err(RecvTimeoutError::Timeout) => assert!(since.elapsed() < LIMIT, "{method} is never answered"),
                Err(RecvTimeoutError::Disconnected) => panic!("the browser ended at {method}"),
            }
        }
    }

    fn hear(&mut self, event: &Value) {
        let parameters = &event["params"];
        let complains = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => parameters["type"] == "error" || parameters["type"] == "warning",
            Some("Log.entryAdded") => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if complains {
            self.complaints.push(parameters.to_string());
        }
    }

    /// What the console complained of since it was last asked.
    pub fn complaints(&mut self) -> Vec<String> {
        self.evaluate("1");
        std::mem::take(&mut self.complaints)
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) {
        self.order("Page.navigate", &json!({ "url": url }));
        self.comes_to("document.readyState === 'complete'");
    }

    /// The size of the window, or of the screen of a phone.
    pub fn window(&mut self, width: u32, height: u32, phone: bool) {
        let scale = if phone { 2 } else { 1 };
        self.order(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone }),
        );
    }

    /// Whether the visitor likes it dark.
    pub fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        self.order("Emulation.setEmulatedMedia", &json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] }));
    }

    /// The value of an expression.
    pub fn evaluate(&mut self, script: &str) -> Value {
        self.value(script).unwrap_or_else(|| panic!("the page went away at {script}"))
    }

    /// The value of an expression, or `None` if another page came before it was known, as after a click on a link.
    fn value(&mut self, script: &str) -> Option<Value> {
        let asked = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let result = match self.answer("Runtime.evaluate", &asked) {
            Ok(result) => result,
            Err(error) if GONE.iter().any(|words| error["message"] == *words) => return None,
            Err(error) => panic!("{script}: {error}"),
        };
        assert!(result["exceptionDetails"].is_null(), "{script}: {}", result["exceptionDetails"]);
        Some(result["result"]["value"].clone())
    }

    /// Waits until an expression is true, on this page or on the one that comes after it.
    pub fn comes_to(&mut self, script: &str) {
        let since = Instant::now();
        while self.value(script) != Some(true.into()) {
            if since.elapsed() > LIMIT {
                let text = self.evaluate("document.body.innerText");
                panic!("never: {script}\nThe page says:\n{}\n{:?}", text.as_str().unwrap_or_default(), self.complaints);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Clicks on the first element that a selector finds.
    pub fn click(&mut self, selector: &str) {
        let clicked = self.evaluate(&format!("(e => e ? (e.click(), true) : false)(document.querySelector({}))", json!(selector)));
        assert_eq!(clicked, true, "there is no {selector}");
    }

    /// Presses a key, such as `Tab`.
    pub fn press(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            let code = if key == "Tab" { 9 } else { 13 };
            self.order("Input.dispatchKeyEvent", &json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code }));
        }
    }

    /// Drags the mouse from one place to another.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        let mut mouse = |kind: &str, (x, y): (f64, f64), buttons: u32| {
            self.order(
                "Input.dispatchMouseEvent",
                &json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 }),
            );
        };
        mouse("mouseMoved", from, 0);
        mouse("mousePressed", from, 1);
        for step in 1..=5 {
            let share = f64::from(step) / 5.0;
            mouse("mouseMoved", (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share), 1);
        }
        mouse("mouseReleased", to, 0);
    }

    /// Writes what the whole page looks like to the folder of screenshots.
    pub fn screenshot(&mut self, name: &str) {
        let folder = std::env::var_os("TIDEWATCH_SCREENSHOTS").map_or_else(
            || {
                PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target").into()))
                    .join("screenshots")
            },
            PathBuf::from,
        );
        std::fs::create_dir_all(&folder).unwrap();
        // Whatever moves comes to rest first.
        std::thread::sleep(Duration::from_millis(600));
        let result = self.order("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        std::fs::write(folder.join(format!("{name}.png")), decode(result["data"].as_str().unwrap())).unwrap();
    }
}

/// Base 64 as the protocol writes it.
fn decode(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |letter: u8| LETTERS.iter().position(|known| *known == letter).unwrap_or(0) as u32;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, letter| bits << 6 | value(*letter));
        let padding = group.iter().filter(|letter| **letter == b'=').count();
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    bytes
}
