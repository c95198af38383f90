//! The `tidemill` command. Whatever stops it is one sentence on standard error and exit code 2.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the last word to the operator, who may log nothing")]
fn main() -> ExitCode {
    match tidemill::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidemill: {error:#}");
            ExitCode::from(2)
        }
    }
}
