//! What the configuration accepts and how its errors read.

use super::*;

fn refused(text: &str) -> String {
    Config::parse(text, Path::new("/etc/tidemill/config.toml")).expect_err("refused").to_string()
}

#[test]
fn an_empty_file_gives_the_shipped_defaults() {
    let shipped = include_str!("../../config.toml");
    let path = Path::new("config.toml");
    let empty = Config::parse("", path).expect("defaults");
    assert_eq!(Config::parse(shipped, path).expect("shipped file"), empty);
    assert_eq!(empty.store.path, Path::new("data"));
}

#[test]
fn relative_paths_start_at_the_files_folder() {
    let config = Config::parse("[store]\npath = \"d\"\n[rules]\npath = \"/r\"", Path::new("/etc/t/c.toml"))
        .expect("legal");
    assert_eq!(config.store.path, Path::new("/etc/t/d"));
    assert_eq!(config.rules.path, Path::new("/r"));
    assert_eq!(config.rules.secrets_path, None);
    let config = Config::parse("[rules]\nproto_path = \"p\"", Path::new("/etc/t/c.toml")).expect("legal");
    assert_eq!(config.rules.proto_path.as_deref(), Some(Path::new("/etc/t/p")));
}

#[test]
fn errors_name_the_key() {
    let cases = [
        ("[mqtt]\nlisen = \"x\"", "line 2: in [mqtt]: unknown field `lisen`, expected one of `listen`"),
        ("regoin = \"x\"", "line 1: unknown field `regoin`"),
        ("[mqtt]\nlisten = 1883", "line 2: in [mqtt]: invalid type: integer `1883`, expected a string"),
        ("[mqtt]\nlisten = \"localhost\"", "mqtt.listen: `localhost` is not an IP address and port"),
        ("[http]\nlisten = \"0.0.0.0:80\"", "http.listen: `0.0.0.0:80` can be reached"),
        ("compatibility = \"azure\"", "compatibility: `azure` is neither"),
        ("account_id = \"12\"", "account_id: `12` is not a twelve-digit"),
        ("region = \"\"", "region: `` is not a region name"),
        ("[store]\npath = \"\"", "store.path: the path is empty"),
        ("[rules]\nproto_path = \"\"", "rules.proto_path: the path is empty"),
        ("[rules]\nsecrets_path = \"\"", "rules.secrets_path: the path is empty"),
        ("[store]\nurl = \"data\"", "store.url: `data` begins with neither file:// nor s3://"),
        ("[store]\nmemory = \"much\"", "store.memory: \"much\" is not a number of bytes such as \"512MiB\""),
        ("[store]\nmemory = \"1MB\"", "store.memory: \"1MB\" is not a number of bytes"),
        ("[store]\nmemory = true", "store.memory: true is not a number of bytes"),
        ("[store]\nmemory = -1", "store.memory: -1 is not a number of bytes"),
        ("[store]\nmemory = \"99999999999999999999GiB\"", "is not a number of bytes"),
        ("[store]\nmemory = \"1023KiB\"", "is less than 1MiB"),
        ("[limits]\ntables_per_account = 0", "limits.tables_per_account: the least is 1"),
        ("[limits]\ndimensions_per_table = 129", "129 is more than 128, what the store is made for"),
        (
            "compatibility = \"aws\"\n[limits]\ndatabases_per_account = 501",
            "limits.databases_per_account: 501 is more than 500, AWS's; compatibility = \"local\" allows more",
        ),
        ("[limits]\ntables = 1", "line 2: in [limits]: unknown field `tables`"),
        ("[http]\nconnections = 0", "http.connections: 0 is less than 1"),
        ("[http]\nbody = \"1KiB\"", "http.body: \"1KiB\" is less than 256KiB"),
        ("[http]\nbodies = \"1MiB\"", "http.bodies: \"1MiB\" is less than http.body"),
        ("[http]\nclient_timeout_seconds = 0", "http.client_timeout_seconds: 0 is less than 1"),
        ("[http]\nadvertise = \"http://a/b\"", "http.advertise: `http://a/b` is neither a host nor a URL"),
        ("[query]\nconcurrency = 0", "query.concurrency: 0 is less than 1"),
        ("[query]\ntimeout_seconds = 0", "query.timeout_seconds: 0 is less than 1"),
        ("[query]\nmemory = \"1MiB\"", "query.memory: \"1MiB\" is less than 16MiB"),
        ("[notifications]\n\"topic\" = \"http://a\"", "notifications: `topic` is not the ARN of a topic"),
        ("[notifications]\n\"arn:aws:sns:r:1:t\" = \"ftp://a\"", "`ftp://a` is not an address such as"),
        ("[notifications]\n\"arn:aws:sns:r:1:t\" = 5", "invalid type: integer `5`"),
        ("[buckets]\npath = \"\"", "buckets.path: the path is empty"),
        ("[rules]\nfiles_path = \"\"", "rules.files_path: the path is empty"),
        ("[rules]\nrepublish_hops_max = 101", "rules.republish_hops_max: 101 is more than 100"),
        ("[rules]\nlambda_timeout_ms = 0", "rules.lambda_timeout_ms: 0 is not between 1 and 60000"),
        ("[rules.lambda]\nf = \"http://h/\"", "rules.lambda: `f` is not the ARN of a function"),
        (
            "[rules.lambda]\n\"arn:aws:lambda:r:1:function:f\" = \"http:///x\"",
            "rules.lambda: `http:///x` is not a URL such as",
        ),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert!(error.starts_with("/etc/tidemill/config.toml"), "{error}");
        assert!(error.contains(expected), "{error} lacks {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn storage_memory_and_limits_are_read() {
    let with = |text: &str| Config::parse(text, Path::new("c.toml")).expect("legal");
    let config =
        with("[store]\nurl = \"s3://fleet/a/\"\nmemory = \"2 GiB\"\n[limits]\ntables_per_account = 7");
    assert_eq!(config.store.url.expect("given").to_string(), "s3://fleet/a");
    assert_eq!(config.store.memory, 2 << 30);
    assert_eq!(config.limits, Limits { tables_per_account: 7, ..Limits::AWS });
    for (text, bytes) in [("1048576", 1 << 20), ("\"1048576\"", 1 << 20), ("\"1024KiB\"", 1 << 20)] {
        assert_eq!(with(&format!("[store]\nmemory = {text}")).store.memory, bytes);
    }
    let more = with("[limits]\nunique_attributes_per_table = 4096");
    assert_eq!(more.limits.unique_attributes_per_table, 4096);
}

#[test]
fn insecure_allows_every_address() {
    let text = "insecure = true\n[mqtt]\nlisten = \"0.0.0.0:0\"";
    let config = Config::parse(text, Path::new("c.toml")).expect("legal");
    assert_eq!(config.mqtt.listeners[0].address.port(), 0);
}
