//! `tidemill check`: would the daemon start with this configuration and these rules?

use std::path::Path;

use anyhow::bail;

use crate::config::Config;
use crate::rules::{RuleOptions, RuleSet};

/// Checks the configuration at `path` and the rule files it names; says what it found on standard
/// output.
///
/// # Errors
/// When the configuration or any rule file has a mistake; each mistake is one line.
#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let options = RuleOptions { account_id: config.account_id, ..RuleOptions::default() };
    let loaded = RuleSet::load(&config.rules_path, &options)
        .map_err(|error| anyhow::anyhow!("rules.path: {error}"))?;
    if !loaded.problems.is_empty() {
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        bail!("{}", problems.join("\n"));
    }
    println!(
        "ok: {} is valid, {} rules in {}",
        path.display(),
        loaded.rules.len(),
        config.rules_path.display()
    );
    Ok(())
}
