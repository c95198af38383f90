//! The databases that Tidemill is compared with, from Debian's packages, with their folders inside the
//! folder of the measurement.

use std::net::SocketAddr;
use std::process::Command;

use super::http::Client;
use super::{Folder, Server, argument, free_address};

/// Where both take line protocol, up to the length.
pub(crate) const WRITE_HEAD: &str = "POST /write?db=bench HTTP/1.1\r\n";

/// VictoriaMetrics: durable some seconds after it has answered.
pub(crate) fn victoria_metrics(folder: &Folder) -> (Server, SocketAddr) {
    let address = free_address();
    let program: String = argument("victoria-metrics", "/usr/bin/victoria-metrics".to_owned());
    let mut command = Command::new(program);
    command.arg(format!("-storageDataPath={}", folder.path("victoria").display()));
    command.arg(format!("-httpListenAddr={address}"));
    command.args(["-retentionPeriod=100y", "-loggerLevel=ERROR"]);
    (Server::start(&mut command, address), address)
}

/// InfluxDB 1.x, which syncs its log before it answers, as it comes. What is in its log is written to
/// its data files after a second without writes, not after ten minutes.
pub(crate) fn influxdb(folder: &Folder) -> (Server, SocketAddr) {
    let (address, rpc) = (free_address(), free_address());
    let home = folder.path("influx");
    let config = folder.path("influx.conf");
    let text = format!(
        "reporting-disabled = true\nbind-address = \"{rpc}\"\n[meta]\ndir = \"{0}/meta\"\n\
         [data]\ndir = \"{0}/data\"\nwal-dir = \"{0}/wal\"\nquery-log-enabled = false\n\
         cache-snapshot-write-cold-duration = \"1s\"\ncompact-full-write-cold-duration = \"5s\"\n\
         [monitor]\nstore-enabled = false\n[http]\nbind-address = \"{address}\"\nlog-enabled = false\n\
         [ifql]\nenabled = false\n[logging]\nlevel = \"error\"\n",
        home.display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let program: String = argument("influxd", "/usr/bin/influxd".to_owned());
    let server = Server::start(Command::new(program).arg("run").arg("-config").arg(config), address);
    let head = "POST /query?q=CREATE%20DATABASE%20bench HTTP/1.1\r\n";
    Client::connect(address).and_then(|mut client| client.post(head, b"").map(drop)).expect("a database");
    (server, address)
}
