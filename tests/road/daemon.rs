//! A daemon of a test's own: an empty folder, free ports, and the process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a start, a stop or a row may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a configuration, rules and, later, data.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    /// A folder with the shipped configuration on free ports, and no rules.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("rules")).expect("a folder for rules");
        let site = Self { folder };
        site.configure("[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n");
        site
    }

    /// Replaces the configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("config.toml"), text).expect("a written configuration");
    }

    /// Adds a rule that writes to `iot.telemetry` with `device_id` as dimension; `more` is added to
    /// its action.
    pub(crate) fn rule(&self, name: &str, sql: &str, more: &str) {
        let text = format!(
            "sql = \"{sql}\"\n[[actions]]\n[actions.timestream]\ndatabase_name = \"iot\"\n\
             table_name = \"telemetry\"\n\
             dimensions = [{{ name = \"device_id\", value = \"${{device_id}}\" }}]\n{more}\n"
        );
        fs::write(self.path("rules").join(format!("{name}.toml")), text).expect("a written rule");
    }

    /// A path below the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with this folder's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(arguments).arg("--config").arg(self.path("config.toml"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("TIDEMILL_LOG");
        command
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&self) -> Daemon {
        let log =
            fs::File::options().create(true).append(true).open(self.path("log")).expect("a file for the log");
        let mut process = self.command(&[]).stderr(log).spawn().expect("a started daemon");
        let out = process.stdout.take().expect("a pipe");
        let mut ready = String::new();
        BufReader::new(out).read_line(&mut ready).expect("a line");
        let addresses =
            ready.strip_prefix("ready mqtt=").and_then(|rest| rest.trim_end().split_once(" http="));
        let Some((mqtt, http)) = addresses else {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            panic!("not ready: {ready:?}\n{log}");
        };
        let address = |text: &str| text.parse().expect("an address");
        Daemon { mqtt: address(mqtt), http: address(http), process }
    }

    /// Runs a command that is expected to end by itself; its exit code, standard output and error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut child = self.command(arguments).spawn().expect("a started command");
        let status = wait(&mut child).unwrap_or_else(|| panic!("{arguments:?} did not end"));
        let mut out = String::new();
        let mut error = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("UTF-8");
        child.stderr.take().expect("a pipe").read_to_string(&mut error).expect("UTF-8");
        (status.code(), out, error)
    }

    /// Every file below `folder` whose name ends with `ending`.
    pub(crate) fn files(&self, folder: &str, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path(folder), &mut found);
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().expect("a child to wait for") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child to kill");
    None
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    /// Where it takes MQTT.
    pub(crate) mqtt: SocketAddr,
    /// Where it takes HTTP.
    pub(crate) http: SocketAddr,
    process: Child,
}

impl Daemon {
    /// Ends the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("a process to wait for");
    }

    /// Asks for an orderly stop and returns the exit code.
    pub(crate) fn stop(self) -> Option<i32> {
        self.stop_with("TERM")
    }

    /// Sends a signal and returns the exit code.
    pub(crate) fn stop_with(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        wait(&mut self.process).expect("the daemon stops when asked").code()
    }

    /// The memory the process holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1_024
    }

    /// What `/metrics` says.
    pub(crate) fn metrics(&self) -> String {
        let mut answer = ureq::get(format!("http://{}/metrics", self.http)).call().expect("an answer");
        answer.body_mut().read_to_string().expect("text")
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
