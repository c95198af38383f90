//! The brokers and databases that Tidemill is compared with, from Debian's packages, with their folders inside the
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

/// Mosquitto without persistence and without limits on its queues.
pub(crate) fn mosquitto(folder: &Folder, name: &str) -> (Server, SocketAddr) {
    let address = free_address();
    let config = folder.path(&format!("mosquitto-{name}.conf"));
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
         max_inflight_messages 0\nmax_queued_messages 0\nlog_dest none\n",
        address.port()
    );
    std::fs::write(&config, text).expect("a configuration");
    let program: String = argument("mosquitto", "/usr/sbin/mosquitto".to_owned());
    (Server::start(Command::new(program).arg("-c").arg(config), address), address)
}

/// NATS with JetStream, which keeps messages of QoS 1 in files, and its door for MQTT.
pub(crate) fn nats(folder: &Folder) -> (Server, SocketAddr) {
    let (address, own) = (free_address(), free_address());
    let config = folder.path("nats.conf");
    let text = format!(
        "server_name: bench\nlisten: {own}\njetstream {{ store_dir: \"{}\" }}\n\
         mqtt {{ listen: {address}, max_ack_pending: 65535 }}\n",
        folder.path("nats").display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let program: String = argument("nats-server", "/usr/sbin/nats-server".to_owned());
    (Server::start(Command::new(program).arg("-c").arg(config), address), address)
}
