//! The data of TSBS' `cpu-only` case: 4,000 hosts, each with ten tags and ten gauges, every ten
//! seconds. The same rows as WriteRecords requests and as line protocol.

/// How many hosts there are.
pub(crate) const HOSTS: usize = 4_000;
/// Rows in one request: what AWS allows.
pub(crate) const ROWS: usize = 100;
/// How many different values of all hosts are prepared.
const VARIANTS: usize = 4;
/// Requests that are prepared and sent in turn.
pub(crate) const REQUESTS: usize = HOSTS / ROWS * VARIANTS;

/// The first reading, in milliseconds.
const FIRST_MS: u64 = 1_767_225_600_000;
const STEP_MS: u64 = 10_000;

const GAUGES: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// A request whose times are filled in when it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Where the 13 digits of each time are.
    times: Vec<usize>,
}

impl Request {
    /// The bytes of this request for its `turn`: no row is sent twice.
    pub(crate) fn at(&mut self, index: usize, turn: usize) -> &[u8] {
        // All hosts of a variant share one time.
        let step = turn * VARIANTS + index / (HOSTS / ROWS);
        let time = (FIRST_MS + step as u64 * STEP_MS).to_string();
        for &place in &self.times {
            self.bytes[place..place + time.len()].copy_from_slice(time.as_bytes());
        }
        &self.bytes
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Leaves room for the time in milliseconds.
    pub(crate) fn time(&mut self) {
        self.times.push(self.bytes.len());
        self.text("0000000000000");
    }
}

/// The requests as WriteRecords takes them, every record complete in itself, for a table of `bench`.
pub(crate) fn write_records(table: &str) -> Vec<Request> {
    requests(|request, rows| {
        request.text(&format!("{{\"DatabaseName\":\"bench\",\"TableName\":\"{table}\",\"Records\":["));
        for (place, row) in rows.enumerate() {
            request.text(if place == 0 { "{\"Dimensions\":[" } else { ",{\"Dimensions\":[" });
            let tags = tags(row.host);
            let tags =
                tags.iter().map(|(name, value)| format!("{{\"Name\":\"{name}\",\"Value\":\"{value}\"}}"));
            request.text(&tags.collect::<Vec<_>>().join(","));
            request.text("],\"MeasureName\":\"cpu\",\"MeasureValueType\":\"MULTI\",\"MeasureValues\":[");
            let gauges = GAUGES.iter().zip(row.values).map(|(name, value)| {
                format!("{{\"Name\":\"{name}\",\"Value\":\"{value}\",\"Type\":\"DOUBLE\"}}")
            });
            request.text(&gauges.collect::<Vec<_>>().join(","));
            request.text("],\"TimeUnit\":\"MILLISECONDS\",\"Time\":\"");
            request.time();
            request.text("\"}");
        }
        request.text("]}");
    })
}

/// The same rows as InfluxDB line protocol.
pub(crate) fn line_protocol() -> Vec<Request> {
    requests(|request, rows| {
        for row in rows {
            request.text("cpu");
            for (name, value) in tags(row.host) {
                request.text(&format!(",{name}={value}"));
            }
            let gauges = GAUGES.iter().zip(row.values).map(|(name, value)| format!("{name}={value}"));
            request.text(&format!(" {} ", gauges.collect::<Vec<_>>().join(",")));
            request.time();
            request.text("000000\n");
        }
    })
}

/// `count` requests of another kind.
pub(crate) fn requests_of(count: usize, write: impl Fn(&mut Request, usize)) -> Vec<Request> {
    let request = |index| {
        let mut request = Request { bytes: Vec::new(), times: Vec::new() };
        write(&mut request, index);
        request
    };
    (0..count).map(request).collect()
}

struct Row {
    host: usize,
    values: [u64; GAUGES.len()],
}

fn requests(write: impl Fn(&mut Request, &mut dyn Iterator<Item = Row>)) -> Vec<Request> {
    let mut chance = Chance(1);
    (0..REQUESTS)
        .map(|index| {
            let first = index * ROWS % HOSTS;
            let mut request = Request { bytes: Vec::new(), times: Vec::new() };
            let mut rows = (first..first + ROWS).map(|host| {
                let values = std::array::from_fn(|_| chance.below(101));
                Row { host, values }
            });
            write(&mut request, &mut rows);
            request
        })
        .collect()
}

fn tags(host: usize) -> [(&'static str, String); 10] {
    const REGIONS: [&str; 9] = [
        "us-east-1",
        "us-west-1",
        "us-west-2",
        "eu-west-1",
        "eu-central-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-northeast-1",
        "sa-east-1",
    ];
    const SYSTEMS: [&str; 3] = ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"];
    const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
    const STAGES: [&str; 3] = ["production", "staging", "test"];
    let mut chance = Chance(host as u64 + 7);
    let mut pick = |below: u64| usize::try_from(chance.below(below)).expect("a small number");
    let region = REGIONS[pick(9)];
    [
        ("hostname", format!("host_{host}")),
        ("region", region.to_owned()),
        ("datacenter", format!("{region}{}", ["a", "b", "c"][pick(3)])),
        ("rack", pick(100).to_string()),
        ("os", SYSTEMS[pick(3)].to_owned()),
        ("arch", ["x64", "x86"][pick(2)].to_owned()),
        ("team", TEAMS[pick(4)].to_owned()),
        ("service", pick(20).to_string()),
        ("service_version", pick(2).to_string()),
        ("service_environment", STAGES[pick(3)].to_owned()),
    ]
}

/// A repeatable sequence of numbers (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Readings as TSBS makes them: every gauge of every host walks at random between 0 and 100, and is
/// written without its fraction.
#[derive(Debug)]
pub(crate) struct Walk {
    chance: Chance,
    gauges: Vec<[f64; GAUGES.len()]>,
    step: u64,
}

impl Walk {
    pub(crate) fn new() -> Self {
        let mut chance = Chance(42);
        let mut start = || std::array::from_fn(|_| chance.below(101) as f64);
        let gauges = (0..HOSTS).map(|_| start()).collect();
        Self { chance, gauges, step: 0 }
    }

    /// Ten seconds later.
    pub(crate) fn step(&mut self) {
        self.step += 1;
        for gauge in self.gauges.iter_mut().flatten() {
            // Twelve uniform numbers make a normal one.
            let sum: u64 = (0..12).map(|_| self.chance.below(1_000_001)).sum();
            *gauge = (*gauge + sum as f64 / 1e6 - 6.0).clamp(0.0, 100.0);
        }
    }

    fn time(&self) -> u64 {
        FIRST_MS + self.step * STEP_MS
    }

    /// The present readings of all hosts as line protocol.
    pub(crate) fn line_protocol(&self) -> String {
        let mut lines = String::new();
        for (host, gauges) in self.gauges.iter().enumerate() {
            let tags = tags(host).map(|(name, value)| format!("{name}={value}")).join(",");
            let values = GAUGES.iter().zip(gauges).map(|(name, value)| format!("{name}={value:.0}"));
            let values = values.collect::<Vec<_>>().join(",");
            lines.push_str(&format!("cpu,{tags} {values} {}000000\n", self.time()));
        }
        lines
    }

    /// The same as WriteRecords requests with one multi-measure record for a host, or ten single ones.
    pub(crate) fn write_records(&self, table: &str, multi: bool) -> Vec<String> {
        let hosts_per_request = if multi { ROWS } else { ROWS / GAUGES.len() };
        let all: Vec<usize> = (0..HOSTS).collect();
        let request = |hosts: &[usize]| {
            let records: Vec<String> = hosts.iter().flat_map(|host| self.records(*host, multi)).collect();
            format!(
                "{{\"DatabaseName\":\"bench\",\"TableName\":\"{table}\",\"CommonAttributes\":{{\"Time\":\"{}\"}},\
                 \"Records\":[{}]}}",
                self.time(),
                records.join(",")
            )
        };
        all.chunks(hosts_per_request).map(request).collect()
    }

    fn records(&self, host: usize, multi: bool) -> Vec<String> {
        let dimensions =
            tags(host).map(|(name, value)| format!("{{\"Name\":\"{name}\",\"Value\":\"{value}\"}}"));
        let dimensions = dimensions.join(",");
        let gauges = GAUGES.iter().zip(self.gauges[host]);
        if multi {
            let values = gauges.map(|(name, value)| {
                format!("{{\"Name\":\"{name}\",\"Value\":\"{value:.0}\",\"Type\":\"DOUBLE\"}}")
            });
            let values = values.collect::<Vec<_>>().join(",");
            return vec![format!(
                "{{\"Dimensions\":[{dimensions}],\"MeasureName\":\"cpu\",\"MeasureValueType\":\"MULTI\",\
                 \"MeasureValues\":[{values}]}}"
            )];
        }
        let record = |(name, value): (&&str, f64)| {
            format!(
                "{{\"Dimensions\":[{dimensions}],\"MeasureName\":\"{name}\",\"MeasureValue\":\"{value:.0}\"}}"
            )
        };
        gauges.map(record).collect()
    }
}
