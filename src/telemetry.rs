//! How the program speaks of itself: logs and errors on standard error, verdicts on standard output.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;

/// The exit code after a fault of the program itself (`EX_SOFTWARE` of sysexits.h).
const EXIT_FAULT: i32 = 70;

/// The exit code after the end of another process of the run (`EX_TEMPFAIL`): starting all of them again is what helps.
const EXIT_LEFT_ALONE: i32 = 75;

/// What timely's threads panic with when the process at the other end of their connection is gone.
const LOST: &str = "timely communication error: ";

/// Logs go to standard error, from `info` on; `TIDEWATCH_LOG=debug` or `TIDEWATCH_LOG=tidewatch::run=trace` says otherwise.
pub fn start() {
    let filter =
        EnvFilter::try_from_env("TIDEWATCH_LOG").unwrap_or_else(|_| EnvFilter::new("info,refinery_core=warn,rdkafka=off,librdkafka=off"));
    let colours = std::io::stderr().is_terminal();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(false).try_init();
}

/// A panic in one worker would leave the others waiting for ever for what it held: the process ends instead, and a restart goes on from the last commit.
///
/// Of several panics the first one speaks: the others follow from it.
pub fn exit_on_panic() {
    let print = std::panic::take_hook();
    let falling = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |panic| {
        while falling.swap(true, Ordering::Relaxed) {
            std::thread::park();
        }
        let safe = "what was committed is safe, and a restart goes on from there";
        let code = if let Some(lost) = lost(panic.payload_as_str()) {
            let _ = writeln!(std::io::stderr(), "error: {lost}; start all of them again: {safe}");
            EXIT_LEFT_ALONE
        } else {
            print(panic);
            let _ = writeln!(std::io::stderr(), "error: this is a fault of tidewatch; {safe}");
            EXIT_FAULT
        };
        std::process::exit(code);
    }));
}

/// Which process of the run is gone, where a panic says so. Timely names its threads after the process at the other end: `timely:recv-1`.
fn lost(message: Option<&str>) -> Option<String> {
    let cause = message?.strip_prefix(LOST)?;
    let thread = std::thread::current();
    let process = thread.name().and_then(|name| name.rsplit_once('-')).map_or("?", |parts| parts.1);
    Some(format!("process {process} of this run has ended or cannot be reached ({cause})"))
}

/// Prints an error and its causes on one line.
pub fn fail(error: &anyhow::Error) {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Causes that their effect already quotes would be read twice.
        if !parts.last().is_some_and(|last| last.ends_with(&text)) {
            parts.push(text);
        }
    }
    // A parser's message may have lines of its own.
    let line = parts.join(": ").split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

/// A flag that Ctrl-C and SIGTERM set; a second one ends the process at once.
///
/// # Errors
/// Where the operating system takes no handler.
pub fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
