//! The command line: arguments, and one file per command.

mod check;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// AWS IoT Core rules and Amazon Timestream in one binary.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, Args)]
struct Shared {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "config.toml", global = true)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the daemon (the default)
    Serve,
    /// Check the configuration and every rule file without starting
    Check,
}

/// Runs the command the process was started with.
///
/// # Errors
/// One sentence for the operator, who has something to change.
pub fn run() -> anyhow::Result<()> {
    let Arguments { command, shared } = Arguments::parse();
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(&shared.config),
        Command::Check => check::check(&shared.config),
    }
}
