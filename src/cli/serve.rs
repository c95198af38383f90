//! `tidemill serve`: the daemon from start to signal to stop.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::daemon::Daemon;

/// The environment variable that sets what is logged, in the syntax of `tracing`'s directives.
const LOG_VARIABLE: &str = "TIDEMILL_LOG";

/// Runs the daemon with the configuration at `path` until it is told to stop. With `accept_loss` it
/// also starts on a damaged log, without what the damage took.
///
/// # Errors
/// When it cannot start, or could not write everything it held when it stopped.
pub(super) fn serve(path: &Path, accept_loss: bool) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    start_logging()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidemill")
        .build()
        .context("cannot start the threads of the daemon")?;
    runtime.block_on(run(config, accept_loss))
}

fn start_logging() -> anyhow::Result<()> {
    // Every repetition of a request to S3 is "info"; what comes of it is logged by who asked.
    let directives = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info,object_store=warn".into());
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("{LOG_VARIABLE}: `{directives}` is not a list of log directives"))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    Ok(())
}

async fn run(config: Config, accept_loss: bool) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut flush = signal(SignalKind::user_defined1()).context("cannot listen for signals")?;
    let daemon = Daemon::start(config, accept_loss).await?;
    announce(&daemon)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            // Storage that does not answer must not keep the daemon from stopping.
            _ = flush.recv() => tokio::select! {
                () = daemon.flush() => {}
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            },
        }
    }
    info!("stopping; a second signal stops at once");
    tokio::select! {
        stopped = daemon.stop() => stopped.context("the store did not close cleanly")?,
        _ = interrupt.recv() => at_once(),
        _ = terminate.recv() => at_once(),
    }
    info!("stopped");
    Ok(())
}

/// Ends the process without draining. Nothing acknowledged is lost: it is in the log on disk.
fn at_once() {
    warn!("stopped at once by a second signal");
    std::process::exit(1);
}

/// The one line on standard output: scripts wait for it and read the addresses from it.
fn announce(daemon: &Daemon) -> anyhow::Result<()> {
    let mut line = format!("ready mqtt={} http={}", daemon.mqtt_address(), daemon.http_address());
    for (transport, address) in daemon.further_addresses() {
        line.push_str(&format!(" {transport}={address}"));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("cannot write the ready line to standard output")
}
