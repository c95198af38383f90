//! What the programs of this folder share: a folder on a real disk, the servers under test and how
//! they end, command line numbers, and the arithmetic of a comparison.
//!
//! They use the standard library only and do not link Tidemill: a load generator that shares code with
//! what it measures hides its mistakes.
#![allow(dead_code, reason = "each program uses a part")]

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) mod http;
pub(crate) mod mqtt;
pub(crate) mod peers;
pub(crate) mod tsbs;

/// How long a server may take to start or an answer to come before a program gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The value of `--name`, or what to take without it.
///
/// # Panics
/// When the value is missing or not of its type: the program then says so and ends.
pub(crate) fn argument<T: std::str::FromStr + Display>(name: &str, default: T) -> T {
    let mut arguments = std::env::args();
    if !arguments.any(|argument| argument == format!("--{name}")) {
        return default;
    }
    let value = arguments.next().unwrap_or_default();
    value.parse().unwrap_or_else(|_| panic!("--{name} does not take {value:?}, try --{name} {default}"))
}

/// An empty folder that is removed in the end. It lies in the build folder, not in `/tmp`, which may
/// be memory and then syncs for nothing.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let default = option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target/tmp").to_owned();
        let path = PathBuf::from(argument("folder", default));
        let path = path.join(format!("bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder to measure in");
        Self(path.canonicalize().expect("the folder just created"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server under test; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
}

impl Server {
    /// Starts a server that says nothing when it is ready, and waits until it takes connections.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let program = command.get_program().to_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("{program:?} does not start: {error}"));
        let server = Self { process };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < PATIENCE, "{program:?} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("the command kill");
        assert!(sent.success(), "the server has ended");
    }

    /// A line of `/proc/<id>/status` in kilobytes, such as `VmRSS`.
    pub(crate) fn memory_kb(&self, line: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// The processor time the server has used, in hundredths of a second.
    pub(crate) fn ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        // The name of the program may hold spaces; it ends with the last bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Tidemill with a folder of its own.
#[derive(Debug)]
pub(crate) struct Tidemill {
    pub(crate) server: Server,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    /// From the start of the process to its ready line.
    pub(crate) started_within: Duration,
}

/// Writes a configuration and the shipped rule into `folder`.
pub(crate) fn configure(folder: &Folder) {
    fs::create_dir_all(folder.path("rules")).expect("a folder for rules");
    let rule = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/telemetry.toml");
    fs::copy(rule, folder.path("rules/telemetry.toml")).expect("the shipped rule");
    let config = "[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(folder.path("config.toml"), config).expect("a configuration");
}

impl Tidemill {
    /// Starts `--binary`, or the one cargo has just built, and waits for its ready line.
    pub(crate) fn start(folder: &Folder) -> Self {
        let built = option_env!("CARGO_BIN_EXE_tidemill").unwrap_or("target/release/tidemill");
        let binary = argument("binary", built.to_owned());
        let log = File::options().create(true).append(true).open(folder.path("log")).expect("a log");
        let mut command = Command::new(&binary);
        command.arg("serve").arg("--config").arg(folder.path("config.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let before = Instant::now();
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{binary} does not start: {error}"));
        let mut ready = String::new();
        let out = process.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut ready).expect("a line");
        let started_within = before.elapsed();
        let server = Server { process };
        let addresses = ready.strip_prefix("ready mqtt=").and_then(|rest| rest.trim().split_once(" http="));
        let (mqtt, http) = addresses.unwrap_or_else(|| {
            let log = fs::read_to_string(folder.path("log")).unwrap_or_default();
            panic!("{binary} is not ready: {ready:?}\n{log}")
        });
        let address = |text: &str| text.parse().expect("an address in the ready line");
        Self { mqtt: address(mqtt), http: address(http), server, started_within }
    }

    /// Ends the program unless `table` has exactly `rows`: what is fast and wrong is not fast.
    pub(crate) fn must_have(&self, table: &str, rows: usize) {
        let query = format!("{{\"QueryString\":\"SELECT count(*) FROM {table}\"}}");
        let mut client = http::Client::connect(self.http).expect("a connection");
        let answer = client.timestream("Query", query.as_bytes()).expect("an answer of 2xx");
        let answer = String::from_utf8_lossy(answer);
        let expected = format!("\"ScalarValue\":\"{rows}\"");
        assert!(answer.contains(&expected), "{table} does not have {rows} rows: {answer}");
    }
}

/// A port nobody listens on at the moment.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// A connection that sends at once and gives up after [`PATIENCE`].
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The median; of an even count the upper one of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The value below which `percent` of all values lie.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

/// Appends `bytes` to a new file `count` times and syncs each time; seconds each.
pub(crate) fn write_and_sync(path: &Path, bytes: &[u8], count: usize) -> Vec<f64> {
    let mut file = File::create(path).expect("a file to sync");
    (0..count)
        .map(|_| {
            let before = Instant::now();
            file.write_all(bytes).and_then(|()| file.sync_data()).expect("a disk that takes bytes");
            before.elapsed().as_secs_f64()
        })
        .collect()
}

/// The files below `folder` and their sizes.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(metadata) = entry.metadata() {
            found.push((path, metadata.len()));
        }
    }
    found
}

/// How many bytes the files below `folder` have without the zeros at their ends.
pub(crate) fn written(folder: &Path) -> u64 {
    let length = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    };
    files(folder).iter().map(|(path, _)| length(path)).sum()
}

/// Asks the system to forget what it has of the files below `folder`, so that they are read from the disk.
pub(crate) fn forget(folder: &Path) {
    for (path, _) in files(folder) {
        let file = format!("of={}", path.display());
        // Zero blocks are written: all this does is give the advice.
        let advice = ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"];
        let given = Command::new("dd").arg("if=/dev/null").arg(file).args(advice).status();
        assert!(given.is_ok_and(|status| status.success()), "dd gives no advice about {}", path.display());
    }
}

/// Reads every file below `folder` once; how many bytes that were.
pub(crate) fn read_all(folder: &Path) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    for (path, _) in files(folder) {
        let mut file = File::open(path).expect("a file to read");
        loop {
            match file.read(&mut buffer).expect("a readable file") {
                0 => break,
                count => total += count as u64,
            }
        }
    }
    total
}
