"""Scheduled queries through boto3 and the AWS CLI: created, run, restarted, reported, announced."""

import contextlib
import datetime
import http.server
import json
import queue
import re
import threading
import time

import pytest

from conftest import configured, started

TOPIC = "arn:aws:sns:us-east-1:000000000000:runs"
ROLE = "arn:aws:iam::000000000000:role/scheduled"
QUERY = """
SELECT host, bin(time, 1h) AS hour, 'load' AS kind, avg(measure_value::double) AS average, count(*) AS readings
FROM iot.raw
WHERE time BETWEEN bin(@scheduled_runtime, 1h) - 1h AND @scheduled_runtime
GROUP BY host, bin(time, 1h)
"""
TARGET = {
    "DatabaseName": "iot",
    "TableName": "hourly",
    "TimeColumn": "hour",
    "DimensionMappings": [{"Name": "host", "DimensionValueType": "VARCHAR"}],
    "MeasureNameColumn": "kind",
    "MultiMeasureMappings": {
        "MultiMeasureAttributeMappings": [
            {"SourceColumn": "average", "MeasureValueType": "DOUBLE"},
            {"SourceColumn": "readings", "TargetMultiMeasureAttributeName": "n", "MeasureValueType": "BIGINT"},
        ]
    },
}
REQUEST = {
    "Name": "hourly",
    "QueryString": QUERY,
    "ScheduleConfiguration": {"ScheduleExpression": "cron(0 * * * ? *)"},
    "NotificationConfiguration": {"SnsConfiguration": {"TopicArn": TOPIC}},
    "TargetConfiguration": {"TimestreamConfiguration": TARGET},
    "ScheduledQueryExecutionRoleArn": ROLE,
    "ErrorReportConfiguration": {"S3Configuration": {"BucketName": "reports", "ObjectKeyPrefix": "errors"}},
}
NOON = datetime.datetime(2024, 5, 6, 12, 0, tzinfo=datetime.timezone.utc)


@contextlib.contextmanager
def subscriber():
    """A small HTTP server; yields its address and a queue of what was posted to it."""
    posted = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        failures = 1

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if Handler.failures > 0:
                Handler.failures -= 1
                self.send_error(503)
                return
            posted.put((dict(self.headers), json.loads(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/runs", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prepared(daemon):
    """Tables and an hour of readings; returns the query client."""
    write = daemon.client("timestream-write")
    write.create_database(DatabaseName="iot")
    for table in ["raw", "hourly"]:
        write.create_table(DatabaseName="iot", TableName=table)
    readings(write, "a", [1.0, 2.0, 6.0])
    readings(write, "b", [0.5])
    return daemon.client("timestream-query")


def readings(write, host, values, first=0):
    eleven = int((NOON - datetime.timedelta(hours=1)).timestamp())
    record = {
        "Dimensions": [{"Name": "host", "Value": host}],
        "MeasureName": "cpu",
        "MeasureValueType": "DOUBLE",
        "TimeUnit": "SECONDS",
    }
    records = [
        {"MeasureValue": str(value), "Time": str(eleven + 60 * minute)}
        for minute, value in enumerate(values, first)
    ]
    write.write_records(DatabaseName="iot", TableName="raw", CommonAttributes=record, Records=records)


def run(query, arn, **more):
    """Runs a query by hand and waits for its end; returns the summary."""
    before = last(query, arn)
    query.execute_scheduled_query(ScheduledQueryArn=arn, InvocationTime=NOON, **more)
    return waited(lambda: (summary := last(query, arn)) != before and summary)


def last(query, arn):
    return query.describe_scheduled_query(ScheduledQueryArn=arn)["ScheduledQuery"].get("LastRunSummary")


def waited(done, seconds=30):
    deadline = time.monotonic() + seconds
    while not (answer := done()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return answer


def rows(query, sql):
    answer = query.query(QueryString=sql)
    return [[datum.get("ScalarValue") for datum in row["Data"]] for row in answer["Rows"]]


HOURLY = "SELECT host, measure_name, time, average, n FROM iot.hourly ORDER BY host, time"


@pytest.fixture
def house(tmp_path, pytestconfig):
    """A folder with a bucket, and how to start a daemon in it."""
    (tmp_path / "buckets" / "reports").mkdir(parents=True)
    configured(tmp_path, "")
    return lambda: started(tmp_path, pytestconfig)


def test_a_query_is_created_run_and_described(house):
    with house() as daemon:
        query = prepared(daemon)
        arn = query.create_scheduled_query(**REQUEST, Tags=[{"Key": "team", "Value": "a"}])["Arn"]
        assert re.fullmatch(r"arn:aws:timestream:us-east-1:000000000000:scheduled-query/hourly-[0-9a-f]{16}", arn)
        described = query.describe_scheduled_query(ScheduledQueryArn=arn)["ScheduledQuery"]
        assert described["State"] == "ENABLED"
        assert described["NextInvocationTime"].minute == 0
        assert described["NextInvocationTime"] > described["CreationTime"]
        for member in REQUEST:
            assert described[member] == REQUEST[member], member
        assert "LastRunSummary" not in described and described["RecentlyFailedRuns"] == []

        summary = run(query, arn, QueryInsights={"Mode": "ENABLED_WITH_RATE_CONTROL"})
        assert summary["RunStatus"] == "MANUAL_TRIGGER_SUCCESS", summary
        assert summary["InvocationTime"] == NOON
        stats = summary["ExecutionStats"]
        assert (stats["RecordsIngested"], stats["QueryResultRows"], stats["DataWrites"]) == (2, 2, 1024)
        assert stats["BytesMetered"] >= 10_000_000 and stats["ExecutionTimeInMillis"] >= 0
        assert stats["CumulativeBytesScanned"] >= 0
        assert summary["QueryInsightsResponse"]["OutputRows"] == 2
        assert "FailureReason" not in summary and "ErrorReportLocation" not in summary
        hour = "2024-05-06 11:00:00.000000000"
        assert rows(query, HOURLY) == [["a", "load", hour, "3.0", "3"], ["b", "load", hour, "0.5", "1"]]

        # A reading comes late: the next run corrects what the first one wrote.
        readings(daemon.client("timestream-write"), "b", [1.5], first=30)
        assert run(query, arn)["RunStatus"] == "MANUAL_TRIGGER_SUCCESS"
        assert rows(query, HOURLY)[1] == ["b", "load", hour, "1.0", "2"]


def test_everything_survives_a_kill(house):
    with house() as daemon:
        query = prepared(daemon)
        arn = query.create_scheduled_query(**REQUEST)["Arn"]
        first = run(query, arn)
        other = query.create_scheduled_query(**REQUEST | {"Name": "other"})["Arn"]
        query.update_scheduled_query(ScheduledQueryArn=other, State="DISABLED")
        # Accepted, and perhaps not run yet.
        query.execute_scheduled_query(ScheduledQueryArn=other, InvocationTime=NOON)
        daemon.process.kill()
        daemon.process.wait()
    with house() as daemon:
        query = daemon.client("timestream-query")
        described = query.describe_scheduled_query(ScheduledQueryArn=arn)["ScheduledQuery"]
        assert described["LastRunSummary"] == first
        summary = waited(lambda: last(query, other))
        assert summary["RunStatus"] == "MANUAL_TRIGGER_SUCCESS"
        listed = {each["Name"]: each for each in query.list_scheduled_queries()["ScheduledQueries"]}
        assert listed["hourly"]["LastRunStatus"] == "MANUAL_TRIGGER_SUCCESS"
        assert listed["other"]["State"] == "DISABLED" and "NextInvocationTime" not in listed["other"]


def test_the_timer_runs_what_is_due(house):
    """The one test with the real timer: a minute at most."""
    with house() as daemon:
        query = prepared(daemon)
        every = {"ScheduleConfiguration": {"ScheduleExpression": "cron(* * * * ? *)"}}
        arn = query.create_scheduled_query(**REQUEST | every)["Arn"]
        summary = waited(lambda: last(query, arn), seconds=75)
        assert summary["RunStatus"] == "AUTO_TRIGGER_SUCCESS", summary
        assert summary["InvocationTime"].second == 0
        described = query.describe_scheduled_query(ScheduledQueryArn=arn)["ScheduledQuery"]
        assert described["NextInvocationTime"] > described["PreviousInvocationTime"]


def test_what_is_refused_is_reported_and_announced(tmp_path, pytestconfig):
    (tmp_path / "buckets" / "reports").mkdir(parents=True)
    with subscriber() as (address, posted):
        configured(tmp_path, f'[notifications]\n"{TOPIC}" = "{address}"\n')
        with started(tmp_path, pytestconfig) as daemon:
            query = prepared(daemon)
            # For one of the hosts the time is not known.
            hour = "CASE WHEN host = 'a' THEN bin(time, 1h) END AS hour"
            sql = f"SELECT host, {hour}, 'load' AS kind, 1.5 AS average, 1 AS readings FROM iot.raw"
            arn = query.create_scheduled_query(**REQUEST | {"QueryString": sql})["Arn"]
            summary = run(query, arn)
            assert summary["RunStatus"] == "MANUAL_TRIGGER_FAILURE"
            assert summary["FailureReason"].startswith("1 records were rejected; the first: The value of the time")
            assert rows(query, "SELECT DISTINCT host FROM iot.hourly") == [["a"]]
            location = summary["ErrorReportLocation"]["S3ReportLocation"]
            assert location["BucketName"] == "reports"
            name = arn.rsplit("/", 1)[1]
            noon, started_at = int(NOON.timestamp()), round(summary["TriggerTime"].timestamp() * 1000)
            assert location["ObjectKey"] == f"errors/{name}/{noon}/Manual/{started_at}"
            report = json.loads((tmp_path / "buckets" / "reports" / location["ObjectKey"]).read_text())
            assert report["reportId"]
            assert report["errors"] == [{"reason": "The value of the time column is NULL.", "records": []}]
            described = query.describe_scheduled_query(ScheduledQueryArn=arn)["ScheduledQuery"]
            assert described["RecentlyFailedRuns"] == [summary] and described["State"] == "ENABLED"

            # A target that is gone is no accident of a row: the query is disabled.
            daemon.client("timestream-write").delete_table(DatabaseName="iot", TableName="hourly")
            summary = run(query, arn)
            assert summary["FailureReason"] == "The table hourly does not exist."
            described = query.describe_scheduled_query(ScheduledQueryArn=arn)["ScheduledQuery"]
            assert described["State"] == "DISABLED"
            query.delete_scheduled_query(ScheduledQueryArn=arn)

            expected = {
                "SCHEDULED_QUERY_CREATING",
                "MANUAL_TRIGGER_FAILURE",
                "SCHEDULED_QUERY_UPDATE",
                "SCHEDULED_QUERY_DELETED",
            }
            messages = {}
            for _ in range(5):
                headers, envelope = posted.get(timeout=30)
                assert headers["x-amz-sns-message-type"] == envelope["Type"] == "Notification"
                assert headers["x-amz-sns-message-id"] == envelope["MessageId"]
                assert headers["x-amz-sns-topic-arn"] == envelope["TopicArn"] == TOPIC
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", envelope["Timestamp"])
                message = json.loads(envelope["Message"])
                attributes = envelope["MessageAttributes"]
                assert attributes["queryArn"] == {"Type": "String", "Value": message["arn"]}
                assert attributes["notificationType"] == {"Type": "String", "Value": message["type"]}
                assert message["arn"] == arn
                messages.setdefault(message["type"], []).append(message)
            assert set(messages) == expected
            assert messages["SCHEDULED_QUERY_UPDATE"][0]["state"] == "DISABLED"
            runs = [message["scheduledQueryRunSummary"] for message in messages["MANUAL_TRIGGER_FAILURE"]]
            assert {each["invocationEpochSecond"] for each in runs} == {noon}
            [reported] = [each for each in runs if "errorReportLocation" in each]
            assert reported["executionStats"]["recordsIngested"] == 3
            assert reported["triggerTimeMillis"] == started_at


def test_lists_come_in_pages_and_tags_stay_with_their_query(house):
    with house() as daemon:
        query = prepared(daemon)
        names = [f"q{number}" for number in range(5)]
        arns = {name: query.create_scheduled_query(**REQUEST | {"Name": name})["Arn"] for name in names}
        pages = query.get_paginator("list_scheduled_queries").paginate(PaginationConfig={"PageSize": 2})
        pages = list(pages)
        sizes = [len(page["ScheduledQueries"]) for page in pages]
        assert sizes == [2, 2, 1]
        listed = [each["Name"] for page in pages for each in page["ScheduledQueries"]]
        assert sorted(listed) == names
        first = pages[0]["ScheduledQueries"][0]
        assert first["TargetDestination"] == {"TimestreamDestination": {"DatabaseName": "iot", "TableName": "hourly"}}
        assert first["ErrorReportConfiguration"] == REQUEST["ErrorReportConfiguration"]

        arn = arns["q1"]
        tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
        query.tag_resource(ResourceARN=arn, Tags=tags)
        assert query.list_tags_for_resource(ResourceARN=arn)["Tags"] == tags
        query.untag_resource(ResourceARN=arn, TagKeys=["a", "none"])
        assert query.list_tags_for_resource(ResourceARN=arn)["Tags"] == tags[1:]
        assert query.list_tags_for_resource(ResourceARN=arns["q2"])["Tags"] == []
        query.delete_scheduled_query(ScheduledQueryArn=arn)
        with pytest.raises(query.exceptions.ResourceNotFoundException) as caught:
            query.list_tags_for_resource(ResourceARN=arn)
        assert caught.value.response["ScheduledQueryArn"] == arn
        with pytest.raises(query.exceptions.ResourceNotFoundException):
            query.delete_scheduled_query(ScheduledQueryArn=arn)


def test_the_same_request_twice_is_one_query(house):
    with house() as daemon:
        query = prepared(daemon)
        token = {"ClientToken": "t" * 32}
        arn = query.create_scheduled_query(**REQUEST, **token)["Arn"]
        assert query.create_scheduled_query(**REQUEST, **token)["Arn"] == arn
        with pytest.raises(query.exceptions.ConflictException):
            query.create_scheduled_query(**REQUEST)
        with pytest.raises(query.exceptions.ConflictException):
            query.create_scheduled_query(**REQUEST | {"Name": "other"}, **token)
        assert len(query.list_scheduled_queries()["ScheduledQueries"]) == 1


def s3(**members):
    return {"ErrorReportConfiguration": {"S3Configuration": {"BucketName": "reports"} | members}}


def schedule(text):
    return {"ScheduleConfiguration": {"ScheduleExpression": text}}


def target(**members):
    return {"TargetConfiguration": {"TimestreamConfiguration": TARGET | members}}


PATTERN = "Member must satisfy regular expression pattern"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"QueryString": "SELECT nowhere FROM iot.raw"}, "line 1:8: Column 'nowhere' does not exist"),
        ({"QueryString": "SELEC 1"}, "The query syntax is invalid at line 1:1"),
        ({"QueryString": "SELECT 1 FROM iot.missing"}, "The table 'missing' does not exist in database 'iot'"),
        ({"QueryString": "SHOW DATABASES"}, "A scheduled query must be a SELECT."),
        ({"Name": "a b"}, f"Value 'a b' at 'name' failed to satisfy constraint: {PATTERN}"),
        ({"Name": "x" * 65}, "at 'name' failed to satisfy constraint: Member must have length less than or equal to 64"),
        (schedule("rate(5 seconds)"), "Invalid ScheduleExpression"),
        (schedule("cron(0 0 * * * *)"), "one of day-of-month and day-of-week must be ?"),
        (schedule("cron(0 0 30 2 ? *)"), "no moment matches it"),
        (s3(BucketName="NoBucket"), "'errorReportConfiguration.s3Configuration.bucketName' failed to satisfy"),
        (s3(EncryptionOption="NONE"), "Member must satisfy enum value set: [SSE_S3, SSE_KMS]"),
        (target(TableName="missing"), "The table missing does not exist."),
        (target(DatabaseName="missing"), "The database missing does not exist."),
        (target(TimeColumn="host"), "is VARCHAR, not TIMESTAMP"),
        (target(MixedMeasureMappings=[{"MeasureValueType": "DOUBLE"}]), "Exactly one of MultiMeasureMappings"),
        (
            target(DimensionMappings=[{"Name": "host", "DimensionValueType": "DOUBLE"}]),
            "'targetConfiguration.timestreamConfiguration.dimensionMappings.1.member.dimensionValueType'"
            " failed to satisfy constraint: Member must satisfy enum value set: [VARCHAR]",
        ),
        ({"Tags": [{"Key": "aws:x", "Value": ""}]}, "reserved"),
    ],
)
def test_what_is_wrong_is_said(shared, change, text):
    query = shared.client("timestream-query")
    with pytest.raises(query.exceptions.ValidationException) as caught:
        query.create_scheduled_query(**REQUEST | change)
    assert text in caught.value.response["Error"]["Message"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, pytestconfig):
    """One daemon for the requests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    configured(folder, "")
    with pytest.MonkeyPatch.context() as patch, started(folder, pytestconfig) as daemon:
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]:
            patch.setenv(name, "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        prepared(daemon)
        yield daemon


def test_other_calls_say_what_is_wrong(shared):
    query = shared.client("timestream-query")
    missing = "arn:aws:timestream:us-east-1:000000000000:scheduled-query/none-0123456789abcdef"
    calls = [
        (query.describe_scheduled_query, {}),
        (query.delete_scheduled_query, {}),
        (query.update_scheduled_query, {"State": "DISABLED"}),
        (query.execute_scheduled_query, {"InvocationTime": NOON}),
    ]
    for call, more in calls:
        with pytest.raises(query.exceptions.ResourceNotFoundException) as caught:
            call(ScheduledQueryArn=missing, **more)
        assert caught.value.response["ScheduledQueryArn"] == missing
        with pytest.raises(query.exceptions.ValidationException):
            call(ScheduledQueryArn="arn:aws:s3:::bucket", **more)
    with pytest.raises(query.exceptions.ValidationException) as caught:
        query.update_scheduled_query(ScheduledQueryArn=missing, State="PAUSED")
    assert "enum value set: [ENABLED, DISABLED]" in str(caught.value)
    with pytest.raises(query.exceptions.ValidationException) as caught:
        query.list_scheduled_queries(NextToken="zz")
    assert "Invalid pagination token." in str(caught.value)
    with pytest.raises(query.exceptions.ValidationException):
        query.list_scheduled_queries(MaxResults=1001)


def test_the_cli_does_it_too(daemon):
    prepared(daemon)
    endpoint = ["--endpoint-url", daemon.url]

    def call(operation, *arguments):
        return daemon.cli("timestream-query", operation, *arguments, *endpoint)

    request = REQUEST | {"Name": "from-the-cli"}
    arn = call("create-scheduled-query", "--cli-input-json", json.dumps(request))["Arn"]
    named = ["--scheduled-query-arn", arn]
    call("execute-scheduled-query", *named, "--invocation-time", NOON.isoformat())

    def summary():
        return call("describe-scheduled-query", *named)["ScheduledQuery"].get("LastRunSummary")

    assert waited(summary)["RunStatus"] == "MANUAL_TRIGGER_SUCCESS"
    call("update-scheduled-query", *named, "--state", "DISABLED")
    [listed] = call("list-scheduled-queries")["ScheduledQueries"]
    assert (listed["Arn"], listed["State"]) == (arn, "DISABLED")
    call("tag-resource", "--resource-arn", arn, "--tags", "Key=team,Value=a")
    assert call("list-tags-for-resource", "--resource-arn", arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    call("untag-resource", "--resource-arn", arn, "--tag-keys", "team")
    call("delete-scheduled-query", *named)
    assert call("list-scheduled-queries")["ScheduledQueries"] == []
