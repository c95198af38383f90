//! `tidemill check`: would the daemon start with this configuration, these rules and, if asked, this store?

use std::path::Path;

use anyhow::bail;

use crate::config::Config;
use crate::rules::{RuleOptions, RuleSet};
use crate::store::{Store, StoreError, StoreUrl};
use crate::tls::TlsEndpoint;

/// Checks the configuration at `path`, the rule files and, with `store`, the store it names; says what it
/// found on standard output.
///
/// # Errors
/// When the configuration or any rule file has a mistake, or the store is damaged; each is one line.
#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn check(path: &Path, store: bool) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let files = config.rules.stand_ins();
    let options = RuleOptions { account_id: config.account_id, files, ..RuleOptions::default() };
    let loaded = RuleSet::load(&config.rules.path, &options)
        .map_err(|error| anyhow::anyhow!("rules.path: {error}"))?;
    if !loaded.problems.is_empty() {
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        bail!("{}", problems.join("\n"));
    }
    let listeners = config.mqtt.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    for files in listeners.chain(&config.http.tls) {
        TlsEndpoint::open(files.clone(), &[])?;
    }
    if store {
        examine(&config.store.path, config.store.url)?;
    }
    println!(
        "ok: {} is valid, {} rules in {}",
        path.display(),
        loaded.rules.len(),
        config.rules.path.display()
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn examine(folder: &Path, url: Option<StoreUrl>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(Store::examine(folder, url)).map_err(|error| match error {
        StoreError::Storage { .. } | StoreError::Moved { .. } => anyhow::anyhow!("{error}"),
        error => anyhow::anyhow!("store.path: {}: {error}", folder.display()),
    })?;
    if !report.is_sound() {
        bail!("{report}");
    }
    println!("{report}");
    Ok(())
}
