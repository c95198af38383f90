"""The wire itself: statuses, bodies and headers as AWS's were recorded, for what SDKs would never send too."""

import gzip
import http.client
import json
import re
import socket
import time

import boto3
import botocore.config
import pytest

TABLE = {"DatabaseName": "db-1", "TableName": "t.1"}


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.raw = response.read()

    @property
    def body(self):
        return json.loads(self.raw)


@pytest.fixture
def send(daemon):
    """Sends one operation as given."""
    def send(operation, body, **headers):
        connection = http.client.HTTPConnection(daemon.url.removeprefix("http://"), timeout=60)
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers = {"X-Amz-Target": f"Timestream_20181101.{operation}", "Content-Type": "application/x-amz-json-1.0", **headers}
        connection.request("POST", "/", body, headers)
        return Answer(connection.getresponse())
    return send


@pytest.fixture
def table(send):
    assert send("CreateDatabase", {"DatabaseName": TABLE["DatabaseName"]}).status == 200
    assert send("CreateTable", TABLE).status == 200
    return TABLE


def record(**changes):
    given = {"Dimensions": [{"Name": "host", "Value": "h"}], "MeasureName": "cpu", "MeasureValue": "1", "Time": "1700000000000"}
    return {**given, **changes}


def test_success(send):
    answer = send("DescribeEndpoints", {}, Host="ingest.example:1", User_Agent="Boto3/1.44")
    assert answer.raw == b'{"Endpoints":[{"Address":"http://ingest.example:1","CachePeriodInMinutes":1440}]}'
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"
    assert re.fullmatch("[A-Z2-7]{26}", answer.headers["x-amzn-requestid"])
    assert "x-amzn-errortype" not in answer.headers
    # An empty body is an empty input, and a newer JSON is the same JSON.
    assert send("ListDatabases", b"").body == {"Databases": []}
    assert send("ListDatabases", {}, Content_Type="application/x-amz-json-1.1").body == {"Databases": []}


@pytest.mark.parametrize("operation", ["NoSuchOperation", "", "CreateDatabase2"])
def test_unknown_operation(send, operation):
    answer = send(operation, {})
    assert (answer.status, answer.raw) == (404, b'{"__type":"com.amazon.coral.service#UnknownOperationException"}')


def test_every_error_has_its_status_type_and_text(send, table):
    service, coral = "com.amazonaws.timestream.v20181101#", "com.amazon.coral.validate#"
    cases = [
        ("DescribeDatabase", {"DatabaseName": "none"}, 404, service + "ResourceNotFoundException", "The database none does not exist."),
        ("DescribeTable", {**table, "TableName": "none"}, 404, service + "ResourceNotFoundException", "The table none does not exist."),
        ("CreateTable", table, 409, service + "ConflictException", None),
        ("DeleteDatabase", {"DatabaseName": "db-1"}, 400, service + "ValidationException", None),
        ("Query", {"QueryString": "SELECT nothing"}, 400, service + "ValidationException", "line 1:8: Column 'nothing' does not exist"),
        ("Query", {"QueryString": "SELECT 1/0"}, 400, service + "QueryExecutionException", "Division by zero"),
        ("Query", {"QueryString": "SELECT 1", "NextToken": "AYAB"}, 400, service + "ValidationException", "Invalid pagination token."),
        ("WriteRecords", {**table, "Records": [record(MeasureValueType="TIMESTAMP")]}, 400, service + "ValidationException",
         "TIMESTAMP is an invalid measure value type."),
        ("WriteRecords", {**table, "Records": [record(MeasureValueType="BIGINT", MeasureValue="None")]}, 400,
         service + "ValidationException", "Invalid value None for bigint measure value type."),
        ("WriteRecords", {**table, "Records": [record(Time="x")]}, 400, service + "ValidationException", "Invalid time for record."),
        ("WriteRecords", {"DatabaseName": "unknown", "TableName": "t", "Records": [record()]}, 404,
         service + "ResourceNotFoundException", "The database unknown does not exist."),
        ("WriteRecords", {**table, "Records": [record(Dimensions=[{"Name": "a", "Value": "b", "DimensionValueType": "X"}])]}, 400,
         coral + "ValidationException",
         "1 validation error detected: Value 'X' at 'records.1.member.dimensions.1.member.dimensionValueType' failed to satisfy "
         "constraint: Member must satisfy enum value set: [VARCHAR]"),
        ("CreateTable", {"DatabaseName": "a b", "RetentionProperties": {
            "MemoryStoreRetentionPeriodInHours": 8767, "MagneticStoreRetentionPeriodInDays": 0}}, 400, coral + "ValidationException",
         "4 validation errors detected: Value 'a b' at 'databaseName' failed to satisfy constraint: Member must satisfy regular "
         "expression pattern: [a-zA-Z0-9_.-]+; Value null at 'tableName' failed to satisfy constraint: Member must not be null; "
         "Value '8767' at 'retentionProperties.memoryStoreRetentionPeriodInHours' failed to satisfy constraint: Member must have "
         "value less than or equal to 8766; Value '0' at 'retentionProperties.magneticStoreRetentionPeriodInDays' failed to "
         "satisfy constraint: Member must have value greater than or equal to 1"),
        ("TagResource", {"ResourceARN": "arn:aws:timestream:us-east-1:0:database/db-1", "Tags": [
            {"Key": str(n), "Value": "v"} for n in range(51)]}, 402, service + "ServiceQuotaExceededException", None),
        ("Query", {"QueryString": "SELECT 1", "ClientToken": "t" * 32}, 200, None, None),
        ("Query", {"QueryString": "SELECT 2", "ClientToken": "t" * 32}, 409, service + "ConflictException", None),
        ("CancelQuery", {"QueryId": "a-b"}, 400, coral + "ValidationException", None),
        ("ListTables", {"MaxResults": 21}, 400, coral + "ValidationException", None),
        ("ListTables", {"MaxResults": "1"}, 400, "com.amazon.coral.service#SerializationException", None),
        ("ListTables", b"{", 400, "com.amazon.coral.service#SerializationException", None),
        ("ListTables", b"[" * 100_000, 400, "com.amazon.coral.service#SerializationException", None),
        ("ListTables", b"\xff\xfe", 400, "com.amazon.coral.service#SerializationException", None),
    ]
    for operation, body, status, kind, text in cases:
        answer = send(operation, body)
        assert (answer.status, answer.body.get("__type")) == (status, kind), (operation, answer.raw)
        if status == 200:
            continue
        assert answer.body["message"] == answer.body["Message"]
        assert text is None or answer.body["message"] == text
        assert answer.headers["x-amzn-errortype"] == kind.split("#")[1]


def test_a_hundred_and_one_records(send, table):
    answer = send("WriteRecords", {**table, "Records": [record()] * 101})
    assert answer.status == 400
    assert answer.body["message"].endswith("at 'records' failed to satisfy constraint: Member must have length less than or equal to 100")


def test_good_records_are_stored_beside_rejected_ones(send, table):
    assert send("WriteRecords", {**table, "Records": [record(Version=200)]}).body == {
        "RecordsIngested": {"Total": 1, "MemoryStore": 0, "MagneticStore": 1}}
    records = [record(MeasureName="new"), record(Version=2), record(Version=200, MeasureValue="2"), record(Version=200)]
    answer = send("WriteRecords", {**table, "Records": records})
    assert (answer.status, answer.body["__type"]) == (419, "com.amazonaws.timestream.v20181101#RejectedRecordsException")
    assert answer.body["message"] == "One or more records have been rejected. See RejectedRecords for details."
    lower, same = answer.body["RejectedRecords"]
    assert lower == {"RecordIndex": 1, "ExistingVersion": 200, "Reason":
                     "The record version 2 is lower than the existing version 200. A higher version is required to update "
                     "the measure value."}
    assert same["RecordIndex"] == 2 and "ExistingVersion" not in same
    assert same["Reason"].startswith("A record already exists with the same time, dimensions, measure name, and record version.")
    page = send("Query", {"QueryString": 'SELECT count(*) FROM "db-1"."t.1"'}).body
    assert page["Rows"] == [{"Data": [{"ScalarValue": "2"}]}]


def test_packed_bodies(send, table):
    body = gzip.compress(json.dumps({**table, "Records": [record()]}).encode())
    assert send("WriteRecords", body, Content_Encoding="gzip").status == 200
    bomb = gzip.compress(b" " * (64 << 20))
    for body, encoding in [(bomb, "gzip"), (b"{}", "gzip"), (body, "br"), (b" " * (9 << 20), "identity")]:
        answer = send("WriteRecords", body, Content_Encoding=encoding)
        assert (answer.status, answer.body["__type"].split("#")[1]) == (400, "ValidationException")


def test_hundreds_of_idle_connections_keep_nobody_out(daemon, send):
    host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
    idle = [socket.create_connection((host, int(port))) for _ in range(500)]
    for connection in idle[::2]:
        connection.sendall(b"POST / HTTP/1.1\r\nX-Amz-Target: Timestream_2018")
    assert send("ListDatabases", {}).status == 200
    for connection in idle:
        connection.close()


def test_headers_have_a_bound(daemon, send):
    host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 200_000)
            answer = connection.recv(100)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert send("ListDatabases", {}).status == 200


def test_connections_beyond_the_limit_are_told_to_wait(tmp_path, pytestconfig):
    from conftest import configured, started
    configured(tmp_path, "connections = 2\n")
    with started(tmp_path, pytestconfig) as daemon:
        host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
        held = [socket.create_connection((host, int(port))) for _ in range(2)]
        time.sleep(0.2)
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("POST", "/", b"{}", {"X-Amz-Target": "Timestream_20181101.ListDatabases"})
        answer = Answer(connection.getresponse())
        assert (answer.status, answer.body["__type"]) == (429, "com.amazonaws.timestream.v20181101#ThrottlingException")
        held.pop().close()
        # SDKs take it for a reason to wait and try again.
        assert daemon.client("timestream-write").list_databases()["Databases"] == []
        held.pop().close()


def test_an_answer_nobody_reads_is_given_up(tmp_path, pytestconfig):
    from conftest import configured, started
    configured(tmp_path, "client_timeout_seconds = 1\nconnections = 1\n")
    with started(tmp_path, pytestconfig) as daemon:
        host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
        deaf = socket.create_connection((host, int(port)))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"QueryString": "SELECT lpad('', 900000, 'x')"}).encode()
        head = f"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Timestream_20181101.Query\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(8):
            deaf.sendall(head.encode() + body)
        # The one connection there is becomes free although its client never goes away.
        patient = botocore.config.Config(retries={"total_max_attempts": 20, "mode": "standard"})
        client = boto3.client("timestream-write", endpoint_url=daemon.url, config=patient)
        assert client.list_databases()["Databases"] == []
        deaf.close()
