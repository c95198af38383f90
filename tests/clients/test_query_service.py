"""boto3's timestream-query, unmodified: everything about queries that is not their language."""

import threading
import time

import pytest

TABLE = {"DatabaseName": "sensors", "TableName": "readings"}
ALL = "SELECT host, measure_value::bigint AS n FROM sensors.readings ORDER BY n"


@pytest.fixture
def write(daemon):
    client = daemon.client("timestream-write")
    client.create_database(DatabaseName="sensors")
    client.create_table(**TABLE)
    return client


@pytest.fixture
def query(daemon, write):
    now = int(time.time() * 1000) - 3_600_000
    for start in range(0, 3000, 100):
        records = [{"MeasureName": f"m{n % 10}", "MeasureValue": str(n), "MeasureValueType": "BIGINT", "Time": str(now + n * 1000),
                    "Dimensions": [{"Name": "host", "Value": f"h{n % 3}"}]} for n in range(start, start + 100)]
        write.write_records(**TABLE, Records=records)
    return daemon.client("timestream-query")


def test_a_repeated_client_token_is_the_same_query(query):
    token = "t" * 32
    first = query.query(QueryString=ALL, ClientToken=token, MaxRows=10)
    again = query.query(QueryString=ALL, ClientToken=token, MaxRows=10)
    assert (again["QueryId"], again["Rows"], again["NextToken"]) == (first["QueryId"], first["Rows"], first["NextToken"])
    other = query.query(QueryString=ALL, ClientToken="u" * 32, MaxRows=10)
    assert other["QueryId"] != first["QueryId"]
    for changed in [{"QueryString": "SELECT 1"}, {"MaxRows": 11}]:
        with pytest.raises(query.exceptions.ConflictException):
            query.query(**{"QueryString": ALL, "ClientToken": token, "MaxRows": 10, **changed})
    # On a further page the token means nothing.
    second = query.query(QueryString=ALL, ClientToken=token, NextToken=first["NextToken"])
    assert second["Rows"][0]["Data"][1]["ScalarValue"] == "10"
    # A request that failed may be corrected.
    with pytest.raises(query.exceptions.ValidationException):
        query.query(QueryString="SELECT", ClientToken="v" * 32)
    assert query.query(QueryString="SELECT 1", ClientToken="v" * 32)["Rows"]


def test_pages_and_their_tokens(query):
    first = query.query(QueryString=ALL, MaxRows=1000)
    assert len(first["Rows"]) == 1000 and 0 <= first["QueryStatus"]["ProgressPercentage"] <= 100
    second = query.query(QueryString=ALL, MaxRows=1000, NextToken=first["NextToken"])
    again = query.query(QueryString=ALL, MaxRows=1000, NextToken=first["NextToken"])
    assert again["Rows"] == second["Rows"] and again["NextToken"] == second["NextToken"] != first["NextToken"]
    last = query.query(QueryString=ALL, MaxRows=1000, NextToken=second["NextToken"])
    assert "NextToken" not in last and last["QueryStatus"]["ProgressPercentage"] == 100
    assert last["ColumnInfo"] == first["ColumnInfo"] and last["QueryId"] == first["QueryId"]
    for text, token in [(ALL + " ", second["NextToken"]), (ALL, first["NextToken"]), (ALL, "x")]:
        with pytest.raises(query.exceptions.ValidationException) as caught:
            query.query(QueryString=text, NextToken=token)
        assert caught.value.response["Error"]["Message"] == "Invalid pagination token."


def test_a_page_has_a_megabyte(query):
    sql = "SELECT lpad('', 300000, 'x') FROM UNNEST(sequence(1, 7)) AS t (n)"
    pages = list(query.get_paginator("query").paginate(QueryString=sql))
    assert [len(page["Rows"]) for page in pages] == [3, 3, 1]
    with pytest.raises(query.exceptions.QueryExecutionException) as caught:
        query.query(QueryString="SELECT lpad('', 600000, 'x') || lpad('', 600000, 'x')")
    expected = "Query aborted as max page response size has been exceeded by the output result row"
    assert caught.value.response["Error"]["Message"] == expected


def test_what_was_scanned(daemon, query):
    nothing = query.query(QueryString="SELECT 1")["QueryStatus"]
    assert (nothing["CumulativeBytesScanned"], nothing["CumulativeBytesMetered"]) == (0, 10_000_000)
    assert query.query(QueryString="SHOW DATABASES")["QueryStatus"]["CumulativeBytesMetered"] == 0
    assert query.query(QueryString="SELECT host FROM sensors.readings")["QueryStatus"]["CumulativeBytesScanned"] > 0
    daemon.flush()
    status = query.query(QueryString="SELECT count(host) FROM sensors.readings")["QueryStatus"]
    assert status["CumulativeBytesScanned"] > 0 and status["ProgressPercentage"] == 100


def test_an_empty_result_has_its_columns(query):
    answer = query.query(QueryString="SELECT host FROM sensors.readings WHERE host = 'none'")
    assert answer["Rows"] == [] and answer["ColumnInfo"] == [{"Name": "host", "Type": {"ScalarType": "VARCHAR"}}]
    assert "NextToken" not in answer


@pytest.mark.parametrize("flushed", [False, True])
def test_insights(daemon, query, flushed):
    if flushed:
        daemon.flush()
    mode = {"QueryInsights": {"Mode": "ENABLED_WITH_RATE_CONTROL"}}
    found = query.query(QueryString=ALL, **mode)
    insights = found["QueryInsightsResponse"]
    assert insights["QueryTableCount"] == 1 and insights["OutputRows"] == 1000 and insights["OutputBytes"] > 10_000
    arn = "arn:aws:timestream:us-east-1:000000000000:database/sensors/table/readings"
    temporal = insights["QueryTemporalRange"]["Max"]
    assert temporal == {"Value": 2999 * 10**9, "TableArn": arn}
    spatial = insights["QuerySpatialCoverage"]["Max"]
    assert spatial == {"Value": 1.0, "TableArn": arn, "PartitionKey": ["measure_name"]}
    last = query.query(QueryString=ALL, MaxRows=1000, NextToken=found["NextToken"], **mode)["QueryInsightsResponse"]
    assert last["OutputRows"] == 2000
    narrow = f"SELECT count(*) FROM sensors.readings WHERE time < ago(30m) AND time > ago(50m)"
    insights = query.query(QueryString=narrow, **mode)["QueryInsightsResponse"]
    assert insights["QueryTemporalRange"]["Max"]["Value"] == pytest.approx(20 * 60 * 10**9, rel=0.01)
    assert "QueryInsightsResponse" not in query.query(QueryString="SELECT 1", QueryInsights={"Mode": "DISABLED"})
    assert query.query(QueryString="SELECT 1", **mode)["QueryInsightsResponse"]["QueryTableCount"] == 0


def test_prepare(query):
    sql = "SELECT host, measure_value::bigint AS n, 1 + 1 FROM sensors.readings WHERE time > @from"
    answer = query.prepare_query(QueryString=sql, ValidateOnly=True)
    assert answer["QueryString"] == sql
    named = {"DatabaseName": "sensors", "TableName": "readings"}
    varchar, bigint, integer = ({"ScalarType": name} for name in ["VARCHAR", "BIGINT", "INTEGER"])
    host, n, two = answer["Columns"]
    assert host == {"Name": "host", "Type": varchar, "Aliased": False, **named}
    assert (n["Name"], n["Type"], n["Aliased"]) == ("n", bigint, True)
    assert (two["Name"], two["Type"], two["Aliased"]) == ("_col2", integer, False)
    assert answer["Parameters"] == [{"Name": "from", "Type": {"ScalarType": "TIMESTAMP"}}]
    for mistake in [{"QueryString": "SELECT nothing FROM sensors.readings", "ValidateOnly": True}, {"QueryString": sql}]:
        with pytest.raises(query.exceptions.ValidationException):
            query.prepare_query(**mistake)


def test_cancel(query):
    first = query.query(QueryString=ALL, MaxRows=10)
    assert "CancellationMessage" not in query.cancel_query(QueryId=first["QueryId"])
    assert first["QueryId"] in query.cancel_query(QueryId=first["QueryId"])["CancellationMessage"]
    with pytest.raises(query.exceptions.ConflictException) as caught:
        query.query(QueryString=ALL, NextToken=first["NextToken"])
    assert caught.value.response["Error"]["Message"] == "Unable to poll results for a cancelled query."
    ended = query.query(QueryString="SELECT 1")["QueryId"]
    for unknown in [ended, "AEDNONE"]:
        with pytest.raises(query.exceptions.ValidationException):
            query.cancel_query(QueryId=unknown)


# The first rows of both come at once; those behind them take longer than any test.
ENDLESS = ("SELECT n FROM UNNEST(sequence(1, 10)) AS t (n) UNION ALL SELECT max(a.n + b.n) FROM UNNEST(sequence(1, 10000)) AS a (n) "
           "CROSS JOIN UNNEST(sequence(1, 10000)) AS b (n) CROSS JOIN UNNEST(sequence(1, 10000)) AS c (n)")


def test_cancel_stops_the_page_that_is_being_made(query):
    first = query.query(QueryString=ENDLESS, MaxRows=1)
    caught, asked = [], threading.Event()

    def poll():
        asked.set()
        try:
            query.query(QueryString=ENDLESS, NextToken=first["NextToken"])
        except query.exceptions.ConflictException as error:
            caught.append((error, time.monotonic()))

    polling = threading.Thread(target=poll)
    polling.start()
    asked.wait()
    time.sleep(1)
    cancelled = time.monotonic()
    query.cancel_query(QueryId=first["QueryId"])
    polling.join(timeout=60)
    [(_, told)] = caught
    assert told - cancelled < 10


def test_a_query_that_takes_long_can_be_polled_and_cancelled(tmp_path, pytestconfig):
    from conftest import configured, started
    configured(tmp_path, "[query]\nfirst_page_seconds = 1\n")
    with started(tmp_path, pytestconfig) as daemon:
        query = daemon.client("timestream-query")
        slow = ENDLESS.split("UNION ALL ")[1]
        first = query.query(QueryString=slow)
        assert first["Rows"] == [] and [column["Name"] for column in first["ColumnInfo"]] == ["_col0"]
        second = query.query(QueryString=slow, NextToken=first["NextToken"])
        assert second["Rows"] == [] and second["NextToken"] != first["NextToken"] and second["QueryId"] == first["QueryId"]
        query.cancel_query(QueryId=first["QueryId"])
        with pytest.raises(query.exceptions.ConflictException):
            query.query(QueryString=slow, NextToken=second["NextToken"])
        # Those that end are seen to their end by whoever goes on asking, as SDKs' paginators do.
        long = "SELECT max(a.n * b.n) FROM UNNEST(sequence(1, 10000)) AS a (n) CROSS JOIN UNNEST(sequence(1, 10000)) AS b (n)"
        pages = list(query.get_paginator("query").paginate(QueryString=long))
        assert [row for page in pages for row in page["Rows"]] == [{"Data": [{"ScalarValue": "100000000"}]}]


def test_account_settings(tmp_path, pytestconfig):
    from conftest import configured, started
    configured(tmp_path, "")
    topic = {"SnsConfiguration": {"TopicArn": "arn:aws:sns:us-east-1:000000000000:t"}, "RoleArn": "arn:aws:iam::000000000000:role/r"}
    with started(tmp_path, pytestconfig) as daemon:
        query = daemon.client("timestream-query")
        settings = query.describe_account_settings()
        assert (settings["MaxQueryTCU"], settings["QueryPricingModel"]) == (200, "COMPUTE_UNITS")
        assert settings["QueryCompute"] == {"ComputeMode": "ON_DEMAND"}
        changed = query.update_account_settings(MaxQueryTCU=16, QueryPricingModel="COMPUTE_UNITS")
        assert changed["MaxQueryTCU"] == 16
        compute = {"ComputeMode": "PROVISIONED", "ProvisionedCapacity": {"TargetQueryTCU": 8, "NotificationConfiguration": topic}}
        provisioned = query.update_account_settings(QueryCompute=compute)["QueryCompute"]
        assert provisioned["ProvisionedCapacity"]["ActiveQueryTCU"] == 8
        for wrong in [{"MaxQueryTCU": 5}, {"MaxQueryTCU": 0}, {"MaxQueryTCU": 1004}, {"QueryPricingModel": "BYTES_SCANNED"},
                      {"QueryPricingModel": "FREE"}, {"QueryCompute": {"ComputeMode": "PROVISIONED"}}]:
            with pytest.raises(query.exceptions.ValidationException):
                query.update_account_settings(**wrong)
        before = query.describe_account_settings()
    with started(tmp_path, pytestconfig) as daemon:
        after = daemon.client("timestream-query").describe_account_settings()
        for key in ["MaxQueryTCU", "QueryPricingModel", "QueryCompute"]:
            assert after[key] == before[key]
