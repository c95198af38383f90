//! `tidemill passwd`: a password becomes the hash that `[[mqtt.users]]` takes.

use std::io::{BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::mqtt::hash_password;

/// The longest password MQTT can carry, in bytes.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Reads a password from standard input, without showing it on a terminal, and prints its hash.
///
/// # Errors
/// When there is no password, or two entries of it differ.
#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn hash() -> anyhow::Result<()> {
    let password = if std::io::stdin().is_terminal() {
        let _hidden = Hidden::begin();
        let first = ask("Password: ")?;
        if ask("Again: ")? != first {
            bail!("the two passwords differ");
        }
        first
    } else {
        line()?
    };
    if password.is_empty() {
        bail!("the password is empty");
    }
    if password.len() > PASSWORD_BYTES_MAX {
        bail!("the password is longer than {PASSWORD_BYTES_MAX} bytes, which no MQTT client can send");
    }
    println!("{}", hash_password(password.as_bytes()).context("the password cannot be hashed")?);
    Ok(())
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "{prompt}").and_then(|()| terminal.flush()).context("cannot ask for the password")?;
    let answer = line();
    let _ = writeln!(terminal);
    answer
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that does not show what is typed, while this lives. `stty` does it: the call behind it
/// is not safe Rust.
struct Hidden;

impl Hidden {
    fn begin() -> Self {
        echo("-echo");
        Self
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        echo("echo");
    }
}

/// A terminal that cannot be told shows the password, which is no reason to fail.
fn echo(setting: &str) {
    let _ = Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
}
