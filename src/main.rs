//! The binary: reads the command line, runs one command, and turns what failed into one line and an exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use tidewatch::{cli, layers, telemetry};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    telemetry::exit_on_panic();
    let typed: Vec<OsString> = std::env::args_os().collect();
    let outcome = layers::arguments(&typed).and_then(|(arguments, tables)| {
        let command = cli::parse(&typed, &arguments);
        telemetry::start();
        command.execute(tables)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::fail(&error);
            ExitCode::FAILURE
        }
    }
}
