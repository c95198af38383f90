//! The `tidemill` command. Whatever stops it is one sentence on standard error and exit code 2.

use std::process::ExitCode;

/// A row is made of many small texts; with the system's allocator a fifth of the time went into them
/// (decision 0051).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stderr, reason = "the last word to the operator, who may log nothing")]
fn main() -> ExitCode {
    match tidemill::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidemill: {}", sentence(&error));
            ExitCode::from(2)
        }
    }
}

/// The error and its causes, without those whose text is already part of it.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
