//! The binary: reads the command line, runs one command, and turns what failed into one line and an exit code.

use std::process::ExitCode;
use tidewatch::{cli, layers, telemetry};

fn main() -> ExitCode {
    telemetry::exit_on_panic();
    let outcome = layers::arguments(std::env::args_os().collect()).and_then(|(arguments, kinds)| {
        let command = cli::parse(arguments);
        telemetry::start();
        command.execute(kinds)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::fail(&error);
            ExitCode::FAILURE
        }
    }
}
