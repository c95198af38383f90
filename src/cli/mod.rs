//! The command line: arguments, and one file per command.

mod cert;
mod check;
mod passwd;
mod rule;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

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
    Serve {
        /// Start on a damaged log without what the damage took; `check --store` says what that is
        #[arg(long)]
        accept_loss: bool,
    },
    /// Check the configuration and every rule file without starting
    Check {
        /// Also read everything in the store, which no daemon may be using, and say what is damaged
        #[arg(long)]
        store: bool,
    },
    /// Make certificates for development: an authority and a server's, or a client's
    Cert(cert::CertArguments),
    /// Hash a password from standard input for a user of MQTT
    Passwd,
    /// Try out rules without starting
    Rule {
        #[command(subcommand)]
        command: rule::RuleCommand,
    },
}

/// Runs the command the process was started with. Its exit code is 1 when it did its work and found
/// mistakes.
///
/// # Errors
/// One sentence for the operator, who has something to change.
pub fn run() -> anyhow::Result<ExitCode> {
    let Arguments { command, shared } = Arguments::parse();
    match command.unwrap_or(Command::Serve { accept_loss: false }) {
        Command::Serve { accept_loss } => serve::serve(&shared.config, accept_loss)?,
        Command::Check { store } => check::check(&shared.config, store)?,
        Command::Cert(arguments) => cert::make(&arguments)?,
        Command::Passwd => passwd::hash()?,
        Command::Rule { command } => return rule::run(command, &shared.config),
    }
    Ok(ExitCode::SUCCESS)
}
