//! The API by hand: the walk-through LocalStack users know, and what clients meet beside it.

use serde_json::{Value, json};

use crate::daemon::{Daemon, Site};

fn table() -> Value {
    json!({ "DatabaseName": "testDB", "TableName": "testTable" })
}

fn cpu(value: &str, time: &str) -> Value {
    json!({ "MeasureName": "cpu", "MeasureValue": value, "Time": time, "TimeUnit": "SECONDS" })
}

fn walked(site: &Site) -> Daemon {
    let daemon = site.start();
    daemon.done("CreateDatabase", &json!({ "DatabaseName": "testDB" }));
    daemon.done("CreateTable", &table());
    let mut request = table();
    request["Records"] = json!([cpu("60", "1636986409"), cpu("80", "1636986412"), cpu("70", "1636986414")]);
    let written = daemon.done("WriteRecords", &request);
    assert_eq!(written["RecordsIngested"]["Total"], 3);
    daemon
}

#[test]
fn three_points_make_one_time_series() {
    let daemon = walked(&Site::new());
    let sql = "SELECT CREATE_TIME_SERIES(time, measure_value::double) as cpu FROM testDB.testTable \
               WHERE measure_name='cpu'";
    let page = daemon.done("Query", &json!({ "QueryString": sql }));
    let point = |time: &str, value: &str| json!({ "Time": time, "Value": { "ScalarValue": value } });
    let series = json!([
        point("2021-11-15 14:26:49.000000000", "60.0"),
        point("2021-11-15 14:26:52.000000000", "80.0"),
        point("2021-11-15 14:26:54.000000000", "70.0"),
    ]);
    assert_eq!(page["Rows"], json!([{ "Data": [{ "TimeSeriesValue": series }] }]));
    let double = json!({ "Type": { "ScalarType": "DOUBLE" } });
    let column = json!([{ "Name": "cpu", "Type": { "TimeSeriesMeasureValueColumnInfo": double } }]);
    assert_eq!(page["ColumnInfo"], column);
    assert_eq!(page["QueryStatus"]["ProgressPercentage"], 100.0);
}

#[test]
fn databases_and_tables_are_kept_described_and_deleted() {
    let site = Site::new();
    assert_eq!(walked(&site).stop(), Some(0));
    let daemon = site.start();
    let database = &daemon.done("DescribeDatabase", &json!({ "DatabaseName": "testDB" }))["Database"];
    assert_eq!(database["Arn"], "arn:aws:timestream:us-east-1:000000000000:database/testDB");
    assert_eq!(database["TableCount"], 1);
    assert!(database["CreationTime"].as_f64().is_some_and(|seconds| seconds > 1.6e9));
    let described = &daemon.done("DescribeTable", &table())["Table"];
    let arn = "arn:aws:timestream:us-east-1:000000000000:database/testDB/table/testTable";
    assert_eq!((&described["Arn"], &described["TableStatus"]), (&json!(arn), &json!("ACTIVE")));
    assert_eq!(described["RetentionProperties"]["MemoryStoreRetentionPeriodInHours"], 6);
    assert_eq!(described["MagneticStoreWriteProperties"]["EnableMagneticStoreWrites"], false);
    assert_eq!(daemon.done("ListTables", &json!({}))["Tables"][0]["TableName"], "testTable");

    let named = json!({ "DatabaseName": "testDB" });
    let (status, body) = daemon.call("DeleteDatabase", &named);
    assert_eq!((status, short(&body)), (400, "ValidationException"));
    daemon.done("DeleteTable", &table());
    daemon.done("DeleteDatabase", &named);
    let (status, body) = daemon.call("DescribeDatabase", &named);
    assert_eq!((status, short(&body)), (404, "ResourceNotFoundException"));
    assert_eq!(body["message"], "The database testDB does not exist.");
    assert_eq!(body["message"], body["Message"]);
}

fn short(body: &Value) -> &str {
    body["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or_default()
}

#[test]
fn lists_come_in_pages() {
    let daemon = Site::new().start();
    for n in 0..25 {
        daemon.done("CreateDatabase", &json!({ "DatabaseName": format!("db{n:02}") }));
    }
    let first = daemon.done("ListDatabases", &json!({}));
    assert_eq!(first["Databases"].as_array().map(Vec::len), Some(20));
    let second = daemon.done("ListDatabases", &json!({ "NextToken": first["NextToken"] }));
    assert_eq!(second["Databases"].as_array().map(Vec::len), Some(5));
    assert_eq!(second["Databases"][0]["DatabaseName"], "db20");
    assert_eq!(second.get("NextToken"), None);
}

#[test]
fn mistakes_have_the_service_s_names_and_statuses() {
    let daemon = walked(&Site::new());
    let missing = json!({ "DatabaseName": "testDB", "TableName": "no", "Records": [cpu("1", "1")] });
    let cases = [
        ("CreateDatabase", json!({ "DatabaseName": "testDB" }), 409, "ConflictException"),
        ("CreateTable", table(), 409, "ConflictException"),
        ("CreateTable", json!({ "DatabaseName": "no", "TableName": "t" }), 404, "ResourceNotFoundException"),
        ("WriteRecords", missing, 404, "ResourceNotFoundException"),
        ("CreateDatabase", json!({ "DatabaseName": "a b" }), 400, "ValidationException"),
        ("CreateDatabase", json!({}), 400, "ValidationException"),
        ("CreateDatabase", json!({ "DatabaseName": 7 }), 400, "SerializationException"),
        ("Query", json!({ "QueryString": "SELEC 1" }), 400, "ValidationException"),
        ("TagResource", json!({}), 400, "ValidationException"),
        ("CreateTopicRule", json!({}), 404, "UnknownOperationException"),
        ("NoSuchThing", json!({}), 404, "UnknownOperationException"),
    ];
    for (operation, input, status, name) in cases {
        let (answered, body) = daemon.call(operation, &input);
        assert_eq!((answered, short(&body)), (status, name), "{operation} {input}: {body}");
    }
}

#[test]
fn query_errors_point_at_the_mistake() {
    let daemon = walked(&Site::new());
    let cases = [
        ("SELECT nothing FROM testDB.testTable", "line 1:8: Column 'nothing' does not exist"),
        ("SELECT 1\n FROM testDB.other", "The table 'other' does not exist in database 'testDB' at line 2:7"),
        ("SELECT 1 FROM no.t", "Requested database 'no' not found for identifier 'no.t' at line 1:15"),
    ];
    for (sql, expected) in cases {
        let (status, body) = daemon.call("Query", &json!({ "QueryString": sql }));
        assert_eq!((status, body["message"].as_str()), (400, Some(expected)), "{sql}");
    }
}

#[test]
fn good_records_are_stored_beside_rejected_ones() {
    let daemon = walked(&Site::new());
    let mut request = table();
    request["Records"] = json!([cpu("61", "1636986409"), cpu("90", "1636986420"), cpu("60", "1636986409")]);
    let (status, body) = daemon.call("WriteRecords", &request);
    assert_eq!((status, short(&body)), (419, "RejectedRecordsException"), "{body}");
    assert_eq!(body["RejectedRecords"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(body["RejectedRecords"][0]["RecordIndex"], 0);
    let rows = daemon.rows("SELECT measure_value::double FROM testDB.testTable ORDER BY time");
    assert_eq!(rows, [["60.0"], ["80.0"], ["70.0"], ["90.0"]]);
}

#[test]
fn results_come_in_pages_of_max_rows() {
    let daemon = walked(&Site::new());
    let sql = "SELECT measure_value::double AS v FROM testDB.testTable ORDER BY time";
    let mut request = json!({ "QueryString": sql, "MaxRows": 2 });
    let first = daemon.done("Query", &request);
    assert_eq!(first["Rows"].as_array().map(Vec::len), Some(2));
    request["NextToken"] = first["NextToken"].clone();
    let second = daemon.done("Query", &request);
    assert_eq!(second["Rows"], json!([{ "Data": [{ "ScalarValue": "70.0" }] }]));
    assert_eq!(second.get("NextToken"), None);
    assert_eq!(second["ColumnInfo"], first["ColumnInfo"]);
    request["QueryString"] = json!("SELECT 1");
    let (status, body) = daemon.call("Query", &request);
    assert_eq!((status, &body["message"]), (400, &json!("Invalid pagination token.")));
}

#[test]
fn metadata_statements_answer() {
    let daemon = walked(&Site::new());
    assert_eq!(daemon.rows("SHOW DATABASES"), [["testDB"]]);
    assert_eq!(daemon.rows("SHOW TABLES FROM \"testDB\" LIKE 'test%'"), [["testTable"]]);
    let described = daemon.rows("DESCRIBE \"testDB\".\"testTable\"");
    let expected = [
        ["measure_name", "varchar", "MEASURE_NAME"],
        ["time", "timestamp", "TIMESTAMP"],
        ["measure_value::double", "double", "MEASURE_VALUE"],
    ];
    assert_eq!(described, expected);
    let measures = daemon.rows("SHOW MEASURES FROM testDB.testTable");
    assert_eq!(measures[0][..2], ["cpu", "double"]);
}

#[test]
fn health_and_endpoints() {
    let daemon = Site::new().start();
    let mut health = ureq::get(format!("http://{}/health", daemon.http)).call().expect("an answer");
    assert_eq!(health.body_mut().read_to_string().expect("text"), r#"{"status":"ok"}"#);
    let endpoints = daemon.done("DescribeEndpoints", &json!({}));
    assert_eq!(endpoints["Endpoints"][0]["Address"], format!("http://{}", daemon.http));
}

#[test]
fn aws_compatibility_refuses_what_aws_refuses() {
    let site = Site::new();
    site.configure(
        "compatibility = \"aws\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"",
    );
    let daemon = site.start();
    daemon.done("CreateDatabase", &json!({ "DatabaseName": "testDB" }));
    daemon.done("CreateTable", &table());
    let mut request = table();
    request["Records"] = json!([cpu("60", "1636986409")]);
    let (status, body) = daemon.call("WriteRecords", &request);
    assert_eq!((status, &body["message"]), (400, &json!("At least one dimension is required for a record.")));
    request["CommonAttributes"] = json!({ "Dimensions": [{ "Name": "host", "Value": "h" }] });
    let (status, body) = daemon.call("WriteRecords", &request);
    assert_eq!(status, 419, "{body}");
    let reason = body["RejectedRecords"][0]["Reason"].as_str().expect("a reason");
    assert!(
        reason.contains("is outside the time range [") && reason.ends_with(") of the memory store."),
        "{reason}"
    );
}
