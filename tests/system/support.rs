//! Runs the binary: each test in a folder of its own, with a limit on time, and with what was said at hand.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No run of a test takes so long on a small machine; one that does hangs.
const LIMIT: Duration = Duration::from_secs(120);
/// How often a waiting test looks.
const LOOK: Duration = Duration::from_millis(5);

/// A folder that a test has for itself, as working directory of what it runs.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and gives its name.
    pub fn write<'a>(&self, name: &'a str, text: impl AsRef<[u8]>) -> &'a str {
        std::fs::write(self.path(name), text).unwrap();
        name
    }

    /// The names of all commands, as the help lists them.
    pub fn commands(&self) -> Vec<String> {
        let top = self.run("--help").well().stdout;
        let listed = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let heads = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names: Vec<String> = heads.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        assert!(names.len() >= 11, "{names:?}");
        names
    }

    /// Runs the binary with what stands in `line`, split at spaces, to its end.
    pub fn run(&self, line: &str) -> Outcome {
        self.call(line).finish()
    }

    /// The binary with what stands in `line`, split at spaces, not yet started.
    pub fn call(&self, line: &str) -> Call {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(line.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
            command.env_remove(name);
        }
        // Tests run side by side, and the usual address is one.
        command.env("TIDEWATCH_NO_PAGE", "1");
        let said = tempfile::tempdir().unwrap();
        command.stdout(File::create(said.path().join("stdout")).unwrap());
        command.stderr(File::create(said.path().join("stderr")).unwrap());
        Call { command, said, line: line.into() }
    }

    /// The embedded default of this place, opened by somebody else.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path("tidewatch-data/tidewatch.db")).unwrap()
    }

    /// Waits until a query gives at least one; `false` where it does not for a long time.
    pub fn comes_to_hold(&self, query: &str) -> bool {
        let since = Instant::now();
        while since.elapsed() < LIMIT / 4 {
            if self.count(query) > 0 {
                return true;
            }
            std::thread::sleep(10 * LOOK);
        }
        false
    }

    /// The number that a query gives.
    pub fn count(&self, query: &str) -> i64 {
        self.database().query_row(query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
    }
}

/// A command line that is about to be run.
pub struct Call {
    command: Command,
    said: TempDir,
    line: String,
}

impl Call {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same, as the argument of another command: `ip netns exec NAME`.
    pub fn within(mut self, line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.command.get_current_dir().unwrap()).stdin(Stdio::null());
        command.stdout(File::create(self.said.path().join("stdout")).unwrap());
        command.stderr(File::create(self.said.path().join("stderr")).unwrap());
        self.command = command;
        self
    }

    pub fn stdin(mut self, path: &Path) -> Self {
        self.command.stdin(File::open(path).unwrap());
        self
    }

    pub fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running { child, said: self.said, line: self.line, since: Instant::now(), peak_kib: 0 }
    }

    pub fn finish(self) -> Outcome {
        self.start().finish()
    }
}

impl Call {
    /// Starts it with a pipe as its standard input, which stays open until it is dropped.
    pub fn piped(mut self) -> (Running, ChildStdin) {
        self.command.stdin(Stdio::piped());
        let mut running = self.start();
        let pipe = running.child.stdin.take().unwrap();
        (running, pipe)
    }
}

/// A run under way. One that is let go is killed, so that a failing test leaves nothing behind.
pub struct Running {
    child: Child,
    said: TempDir,
    line: String,
    since: Instant,
    peak_kib: u64,
}

impl Running {
    /// Waits for the end; a run that takes too long is killed and fails the test.
    pub fn finish(mut self) -> Outcome {
        loop {
            self.peak_kib = peak_kib(self.child.id()).unwrap_or(self.peak_kib);
            if let Some(status) = self.child.try_wait().unwrap() {
                return Outcome {
                    code: status.code(),
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                    took: self.since.elapsed(),
                    peak_kib: self.peak_kib,
                    line: self.line(),
                };
            }
            assert!(self.since.elapsed() < LIMIT, "'{}' hangs; it said:\n{}{}", self.line, self.stdout(), self.stderr());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until standard error holds `text`; `false` where the run ended without it.
    pub fn says(&mut self, text: &str) -> bool {
        self.comes_to_hold("stderr", text)
    }

    /// The same of standard output.
    pub fn prints(&mut self, text: &str) -> bool {
        self.comes_to_hold("stdout", text)
    }

    fn comes_to_hold(&mut self, stream: &str, text: &str) -> bool {
        loop {
            // In this order: what is said last is said before the end.
            let ended = self.child.try_wait().unwrap().is_some();
            if self.read(stream).contains(text) {
                return true;
            }
            if ended {
                return false;
            }
            assert!(self.since.elapsed() < LIMIT, "'{}' never says '{text}', but:\n{}", self.line, self.read(stream));
            std::thread::sleep(LOOK);
        }
    }

    /// Sends a signal by its name: `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn stdout(&self) -> String {
        self.read("stdout")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.said.path().join(name)).unwrap()).into_owned()
    }

    fn line(&self) -> String {
        self.line.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// The most memory that it held, as far as it was seen: 0 where the system does not say.
    pub peak_kib: u64,
    line: String,
}

/// The most memory that a process has held so far, on Linux.
fn peak_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

impl Outcome {
    /// The same, having ended well.
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "'{}' said:\n{}{}", self.line, self.stdout, self.stderr);
        self
    }

    /// The last line on standard output, which must be the digest.
    pub fn digest(&self) -> String {
        let last = self.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("digest: "), "'{}' ends with '{last}', not with a digest:\n{}", self.line, self.stderr);
        last.to_owned()
    }

    /// The only line on standard error that is no log line, which must be an error; everything in `parts` must stand in it.
    pub fn error(&self, parts: &[&str]) -> String {
        assert!(self.code.is_some_and(|code| code != 0 && code != 70), "'{}' ended with {:?}:\n{}", self.line, self.code, self.stderr);
        let told: Vec<&str> = self.stderr.lines().filter(|line| !is_log_line(line)).collect();
        let [error] = told[..] else { panic!("'{}' says more or less than one line:\n{}", self.line, self.stderr) };
        assert!(error.starts_with("error: "), "'{}' says {error}", self.line);
        for part in parts {
            assert!(error.contains(part), "'{}' does not name '{part}': {error}", self.line);
        }
        error.to_owned()
    }

    /// The numbers in the only line of standard output that holds `words`, in order.
    pub fn numbers(&self, words: &str) -> Vec<f64> {
        let lines: Vec<&str> = self.stdout.lines().filter(|line| line.contains(words)).collect();
        let [line] = lines[..] else { panic!("'{}' has {} lines with '{words}':\n{}", self.line, lines.len(), self.stdout) };
        line.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|word| word.parse().ok()).collect()
    }
}

/// Whether a line begins as those of the log do: `2026-01-19T00:00:00.000000Z  INFO …`.
fn is_log_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let time = words.next().is_some_and(|word| word.len() == 27 && word.ends_with('Z'));
    time && words.next().is_some_and(|level| ["ERROR", "WARN", "INFO", "DEBUG"].contains(&level))
}
