//! `tidemill rule test`: the examples of rule files.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::explain;
use crate::config::Config;
use crate::rules::{Rule, RuleFolder, RuleOptions, RuleSet, StandIns};

/// Runs the examples of the file or folder at `path`, or of the folder that the configuration at
/// `config` names.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command's result")]
pub(super) fn test(path: Option<&Path>, config: &Path) -> anyhow::Result<ExitCode> {
    let mut options = RuleOptions::default();
    let (rules, problems) = match path {
        Some(path) if !path.is_dir() => explain::read_rule(path, &super::stand_ins(config))
            .map_or_else(|problems| (Vec::new(), problems), |rule| (vec![Arc::new(rule)], Vec::new())),
        Some(path) => folder(path, &super::stand_ins(config))?,
        None => {
            let config = Config::load(config)?;
            options.account_id.clone_from(&config.account_id);
            folder(&config.rules.path, &config.rules.stand_ins())?
        }
    };
    for problem in &problems {
        eprintln!("{problem}");
    }
    let (mut ran, mut failed) = (0_usize, 0_usize);
    for rule in rules {
        let set = RuleSet::with_options(vec![Arc::clone(&rule)], &options);
        for (number, example) in (1_usize..).zip(rule.examples()) {
            ran += 1;
            match example.check(&set, rule.name()) {
                Ok(()) => println!("ok   {} example {number}", rule.name()),
                Err(got) => {
                    failed += 1;
                    println!("FAIL {} example {number}", rule.name());
                    println!("     expected {}", example.expectation());
                    println!("     got      {got}");
                }
            }
        }
    }
    println!("{ran} examples, {failed} failed");
    Ok(if failed == 0 && problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn folder(path: &Path, stand_ins: &StandIns) -> anyhow::Result<(Vec<Arc<Rule>>, Vec<String>)> {
    let mut folder = RuleFolder::new(path).reading(stand_ins);
    folder.refresh().context("rule test")?;
    let (rules, problems) = folder.rules();
    let problems = problems.iter().map(ToString::to_string).collect();
    Ok((rules.into_iter().map(|defined| defined.rule).collect(), problems))
}
