"""The AWS CLI, unmodified."""

import json
import subprocess

import pytest


def test_walkthrough(daemon):
    """The walk-through a LocalStack user knows."""
    endpoint = ["--endpoint-url", daemon.url]
    table = ["--database-name", "testDB", "--table-name", "testTable"]
    created = daemon.cli("timestream-write", "create-database", "--database-name", "testDB", *endpoint)
    assert created["Database"]["DatabaseName"] == "testDB"
    created = daemon.cli("timestream-write", "create-table", *table, *endpoint)
    assert created["Table"]["TableStatus"] == "ACTIVE"
    for value, time in [("60", "1636986409"), ("80", "1636986412"), ("70", "1636986414")]:
        record = {"MeasureName": "cpu", "MeasureValue": value, "TimeUnit": "SECONDS", "Time": time}
        records = ["--records", json.dumps([record])]
        daemon.cli("timestream-write", "write-records", *table, *records, *endpoint)
    sql = (
        "SELECT CREATE_TIME_SERIES(time, measure_value::double) as cpu "
        "FROM testDB.testTable WHERE measure_name='cpu'"
    )
    answer = daemon.cli("timestream-query", "query", "--query-string", sql, *endpoint)
    [row] = answer["Rows"]
    [datum] = row["Data"]
    points = [(point["Time"], point["Value"]["ScalarValue"]) for point in datum["TimeSeriesValue"]]
    assert points == [
        ("2021-11-15 14:26:49.000000000", "60.0"),
        ("2021-11-15 14:26:52.000000000", "80.0"),
        ("2021-11-15 14:26:54.000000000", "70.0"),
    ]


def test_endpoint_from_the_environment(daemon, monkeypatch):
    """With the variable, the CLI discovers endpoints first and then uses what it was told."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", daemon.url)
    answer = daemon.cli("timestream-query", "query", "--query-string", "SELECT 1")
    assert answer["Rows"] == [{"Data": [{"ScalarValue": "1"}]}]


TABLE = ["--database-name", "iot", "--table-name", "t"]


@pytest.fixture
def aws(daemon):
    """Runs an operation of either service; its output as JSON."""
    def aws(service, operation, *arguments):
        return daemon.cli(f"timestream-{service}", operation, *arguments, "--endpoint-url", daemon.url)
    return aws


def test_every_operation_on_databases_and_tables(aws):
    """With arguments in JSON and in the CLI's shorthand."""
    tags = ["--tags", "Key=team,Value=a"]
    database = aws("write", "create-database", "--database-name", "iot", *tags)["Database"]
    assert aws("write", "describe-database", "--database-name", "iot")["Database"] == database
    assert [d["DatabaseName"] for d in aws("write", "list-databases")["Databases"]] == ["iot"]
    key = "arn:aws:kms:us-east-1:000000000000:key/k"
    assert aws("write", "update-database", "--database-name", "iot", "--kms-key-id", key)["Database"]["KmsKeyId"] == key
    retention = ["--retention-properties", "MemoryStoreRetentionPeriodInHours=2,MagneticStoreRetentionPeriodInDays=3"]
    writes = {"EnableMagneticStoreWrites": True, "MagneticStoreRejectedDataLocation": {
        "S3Configuration": {"BucketName": "rejected", "ObjectKeyPrefix": "a/b"}}}
    schema = {"CompositePartitionKey": [{"Type": "DIMENSION", "Name": "host", "EnforcementInRecord": "REQUIRED"}]}
    table = aws("write", "create-table", *TABLE, *retention, *tags, "--schema", json.dumps(schema),
                "--magnetic-store-write-properties", json.dumps(writes))["Table"]
    assert table["RetentionProperties"] == {"MemoryStoreRetentionPeriodInHours": 2, "MagneticStoreRetentionPeriodInDays": 3}
    location = table["MagneticStoreWriteProperties"]["MagneticStoreRejectedDataLocation"]["S3Configuration"]
    assert location == {"BucketName": "rejected", "ObjectKeyPrefix": "a/b", "EncryptionOption": "SSE_S3"}
    assert table["Schema"] == schema
    assert aws("write", "describe-table", *TABLE)["Table"] == table
    assert [t["TableName"] for t in aws("write", "list-tables")["Tables"]] == ["t"]
    schema["CompositePartitionKey"][0]["EnforcementInRecord"] = "OPTIONAL"
    assert aws("write", "update-table", *TABLE, "--schema", json.dumps(schema))["Table"]["Schema"] == schema
    arn = ["--resource-arn", table["Arn"]]
    aws("write", "tag-resource", *arn, "--tags", "Key=cost,Value=7")
    aws("write", "untag-resource", *arn, "--tag-keys", "team")
    for service in ["write", "query"]:
        assert aws(service, "list-tags-for-resource", *arn)["Tags"] == [{"Key": "cost", "Value": "7"}]
        assert aws(service, "describe-endpoints")["Endpoints"][0]["CachePeriodInMinutes"] == 1440
    aws("write", "delete-table", *TABLE)
    aws("write", "delete-database", "--database-name", "iot")
    assert aws("write", "list-databases")["Databases"] == []


def test_every_operation_on_queries(aws):
    """The CLI pages by itself and joins the rows."""
    sql = ["--query-string", "SELECT n FROM UNNEST(sequence(1, 2500)) AS t (n)"]
    answer = aws("query", "query", *sql)
    assert [row["Data"][0]["ScalarValue"] for row in answer["Rows"]] == [str(n) for n in range(1, 2501)]
    assert answer["QueryStatus"]["CumulativeBytesMetered"] == 10_000_000
    page = aws("query", "query", *sql, "--max-rows", "10", "--no-paginate", "--query-insights", "Mode=ENABLED_WITH_RATE_CONTROL")
    assert page["NextToken"] and page["QueryInsightsResponse"]["OutputRows"] == 10
    assert aws("query", "prepare-query", *sql, "--validate-only")["Columns"][0]["Name"] == "n"
    cancel = ["cancel-query", "--query-id", page["QueryId"]]
    aws("query", *cancel)
    assert aws("query", *cancel)["CancellationMessage"]


def test_errors_have_their_names(daemon, aws):
    aws("write", "create-database", "--database-name", "iot")
    cases = [
        ("write", ["create-database", "--database-name", "iot"], "ConflictException"),
        ("write", ["describe-table", *TABLE], "ResourceNotFoundException"),
        ("write", ["list-tables", "--max-results", "21"], "ValidationException"),
        ("query", ["query", "--query-string", "SELECT nothing"], "ValidationException"),
        ("query", ["query", "--query-string", "SELECT 1/0"], "QueryExecutionException"),
    ]
    for service, arguments, name in cases:
        command = ["aws", f"timestream-{service}", *arguments, "--endpoint-url", daemon.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode != 0 and f"({name})" in done.stderr, done.stderr
