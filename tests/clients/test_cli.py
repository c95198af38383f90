"""The AWS CLI, unmodified."""

import json


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
