//! One run under way, asked again and again how it is.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes so long, on a small machine that others use too.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A run that is never started again. It is killed where the test fails.
pub struct Watched {
    child: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Watched {
    pub fn start(arguments: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(arguments).args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(File::create(folder.path().join("stderr")).unwrap());
        let mut watched = Self { child: command.spawn().unwrap(), folder, address: String::new() };
        until("the run listens", || watched.said().contains("listening at http://"));
        let said = watched.said();
        let address = said.split("listening at http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        address.unwrap().clone_into(&mut watched.address);
        watched
    }

    /// What it said on standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// What `/readyz` says is away; `None` while the run does not watch yet. A run that is ready says so by its status too.
    fn readiness(&mut self) -> Option<Vec<String>> {
        assert!(self.child.try_wait().unwrap().is_none(), "the run has ended:\n{}", self.said());
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: tidewatch\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), body["ready"].as_bool().unwrap(), "{answer}");
        let away: Vec<String> = body["away"].as_array().unwrap().iter().map(|part| part["what"].as_str().unwrap().into()).collect();
        assert!(body["ready"] == (away.is_empty() && body["stage"] == "watching"), "{answer}");
        (body["stage"] == "watching").then_some(away)
    }

    /// What is away now.
    pub fn away(&mut self) -> Vec<String> {
        self.readiness().unwrap_or_default()
    }

    /// Waits until exactly these parts are away.
    pub fn await_away(&mut self, parts: &[&str]) {
        let since = Instant::now();
        while self.readiness().is_none_or(|away| away != parts) {
            assert!(since.elapsed() < LIMIT, "waited in vain until {parts:?} are away:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The memory that it occupies.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends it in good order, and gives all that it said.
    pub fn stop(mut self) -> String {
        assert!(Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.said());
        self.said()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
