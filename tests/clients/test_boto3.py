"""boto3, unmodified: what programs do, and which exceptions they meet."""

import datetime
import json
import threading
import time

import boto3
import botocore.config
import botocore.exceptions
import paho.mqtt.client as mqtt
import pytest

READING = {
    "dataFormat": 5, "rssi": -88, "temperature": 24.04, "humidity": 43.605, "pressure": 101082,
    "accelerationX": 40, "accelerationY": -20, "accelerationZ": 1016, "battery": 3007, "txPower": 4,
    "movementCounter": 219, "device_id": 46216, "device_firmware_sku": 46216,
}


def rows(client, sql, **options):
    """Every row of a query as text, through boto3's own paginator."""
    pages = client.get_paginator("query").paginate(QueryString=sql, **options)
    return [[datum.get("ScalarValue") for datum in row["Data"]] for page in pages for row in page["Rows"]]


@pytest.fixture
def write(daemon):
    return daemon.client("timestream-write")


@pytest.fixture
def query(daemon):
    return daemon.client("timestream-query")


@pytest.fixture
def table(write):
    names = {"DatabaseName": "db-1", "TableName": "t.1"}
    write.create_database(DatabaseName=names["DatabaseName"])
    write.create_table(**names, RetentionProperties={
        "MemoryStoreRetentionPeriodInHours": 24, "MagneticStoreRetentionPeriodInDays": 7})
    return names


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
def test_a_publish_becomes_two_rows(daemon, query, protocol):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
    client.connect(daemon.mqtt_host, daemon.mqtt_port)
    client.loop_start()
    published = client.publish("iot/topic", json.dumps(READING), qos=1)
    published.wait_for_publish(timeout=30)
    assert published.is_published()
    client.disconnect()
    client.loop_stop()
    sql = 'SELECT device_id, measure_name, measure_value::double, time FROM "iot"."telemetry" ORDER BY measure_name'
    found = rows(query, sql)
    assert [row[:3] for row in found] == [["46216", "humidity", "43.605"], ["46216", "temperature", "24.04"]]
    taken = datetime.datetime.fromisoformat(found[0][3][:26]).replace(tzinfo=datetime.timezone.utc)
    assert abs(datetime.datetime.now(datetime.timezone.utc) - taken) < datetime.timedelta(minutes=2)


def test_control_plane(write, table):
    described = write.describe_table(**table)["Table"]
    assert described["RetentionProperties"]["MemoryStoreRetentionPeriodInHours"] == 24
    assert described["Schema"] == {"CompositePartitionKey": [{"Type": "MEASURE"}]}
    assert isinstance(described["CreationTime"], datetime.datetime)
    database = write.describe_database(DatabaseName="db-1")["Database"]
    assert database["TableCount"] == 1
    assert database["KmsKeyId"].startswith("arn:aws:kms:us-east-1:000000000000:key/")
    assert [t["TableName"] for t in write.list_tables(DatabaseName="db-1")["Tables"]] == ["t.1"]
    assert [d["DatabaseName"] for d in write.list_databases()["Databases"]] == ["db-1"]
    with pytest.raises(write.exceptions.ConflictException):
        write.create_table(**table)
    with pytest.raises(write.exceptions.ValidationException):
        write.delete_database(DatabaseName="db-1")
    write.delete_table(**table)
    write.delete_database(DatabaseName="db-1")
    with pytest.raises(write.exceptions.ResourceNotFoundException) as caught:
        write.describe_table(**table)
    assert caught.value.response["Error"]["Message"] == "The database db-1 does not exist."


@pytest.mark.parametrize("flushed", [False, True])
def test_updates(daemon, write, query, table, flushed):
    record = {"Dimensions": [{"Name": "host", "Value": "h"}], "MeasureName": "cpu", "MeasureValue": "1"}
    ages = [0, 24 * 60 + 50, 25 * 60 + 10, 3 * 24 * 60]
    times = [int((time.time() - age * 60) * 1000) for age in ages]
    write.write_records(**table, Records=[{**record, "Time": str(at)} for at in times])
    if flushed:
        daemon.flush()
    retention = {"MemoryStoreRetentionPeriodInHours": 1, "MagneticStoreRetentionPeriodInDays": 1}
    updated = write.update_table(**table, RetentionProperties=retention)["Table"]
    assert updated["RetentionProperties"] == retention
    assert updated["MagneticStoreWriteProperties"] == {"EnableMagneticStoreWrites": False}
    # Rows past retention are seen no more, whether they lie in memory, in an old part or in one with younger rows.
    assert rows(query, 'SELECT count(*) FROM "db-1"."t.1"') == [["2"]]
    assert rows(query, 'SELECT host FROM "db-1"."t.1" WHERE time < ago(1h)') == [["h"]]
    updated = write.update_table(**table, MagneticStoreWriteProperties={"EnableMagneticStoreWrites": True})["Table"]
    assert updated["RetentionProperties"] == retention
    assert updated["MagneticStoreWriteProperties"] == {"EnableMagneticStoreWrites": True}
    with pytest.raises(write.exceptions.ValidationException):
        key = {"Type": "DIMENSION", "Name": "host", "EnforcementInRecord": "REQUIRED"}
        write.update_table(**table, Schema={"CompositePartitionKey": [key]})
    database = write.update_database(DatabaseName="db-1", KmsKeyId="alias/mine")["Database"]
    assert database["KmsKeyId"] == "alias/mine"
    with pytest.raises(write.exceptions.ResourceNotFoundException):
        write.update_table(DatabaseName="db-1", TableName="none", RetentionProperties=retention)


def test_tags(write, query, table):
    arns = [write.describe_table(**table)["Table"]["Arn"], write.describe_database(DatabaseName="db-1")["Database"]["Arn"]]
    for arn in arns:
        write.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "a"}, {"Key": "cost", "Value": ""}])
        write.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "b"}])
        expected = [{"Key": "cost", "Value": ""}, {"Key": "team", "Value": "b"}]
        assert write.list_tags_for_resource(ResourceARN=arn)["Tags"] == expected
        pages = query.get_paginator("list_tags_for_resource").paginate(
            ResourceARN=arn, PaginationConfig={"PageSize": 1})
        assert [tag for page in pages for tag in page["Tags"]] == expected
        write.untag_resource(ResourceARN=arn, TagKeys=["team", "absent"])
        assert write.list_tags_for_resource(ResourceARN=arn)["Tags"] == expected[:1]
        with pytest.raises(write.exceptions.ValidationException):
            write.tag_resource(ResourceARN=arn, Tags=[{"Key": "aws:x", "Value": "a"}])
        with pytest.raises(write.exceptions.ServiceQuotaExceededException):
            write.tag_resource(ResourceARN=arn, Tags=[{"Key": str(n), "Value": "v"} for n in range(60)])
    with pytest.raises(write.exceptions.ResourceNotFoundException):
        write.list_tags_for_resource(ResourceARN=arns[0] + "-other")
    with pytest.raises(write.exceptions.ValidationException):
        write.list_tags_for_resource(ResourceARN="arn:aws:s3:::bucket")


def test_write_and_read_every_type(write, query, table):
    now = str(time.time_ns())
    dimensions = [{"Name": "host", "Value": "h1"}]
    common = {"Dimensions": dimensions, "Time": now, "TimeUnit": "NANOSECONDS"}
    values = [
        {"Name": "d", "Value": "1.5", "Type": "DOUBLE"},
        {"Name": "i", "Value": "-7", "Type": "BIGINT"},
        {"Name": "b", "Value": "True", "Type": "BOOLEAN"},
        {"Name": "s", "Value": "grün", "Type": "VARCHAR"},
        {"Name": "t", "Value": now, "Type": "TIMESTAMP"},
    ]
    records = [
        {"MeasureName": "multi", "MeasureValueType": "MULTI", "MeasureValues": values},
        {"MeasureName": "single", "MeasureValue": "2.5"},
    ]
    ingested = write.write_records(**table, CommonAttributes=common, Records=records)["RecordsIngested"]
    assert ingested["Total"] == 2
    answer = query.query(QueryString='SELECT d, i, b, s, t, host FROM "db-1"."t.1" WHERE measure_name = \'multi\'')
    types = [column["Type"]["ScalarType"] for column in answer["ColumnInfo"]]
    assert types == ["DOUBLE", "BIGINT", "BOOLEAN", "VARCHAR", "TIMESTAMP", "VARCHAR"]
    [row] = answer["Rows"]
    texts = [datum["ScalarValue"] for datum in row["Data"]]
    assert texts[:4] == ["1.5", "-7", "true", "grün"]
    assert texts[4].endswith("." + now[-9:])
    everything = query.query(QueryString='SELECT * FROM "db-1"."t.1" WHERE measure_name = \'single\'')
    assert {"NullValue": True} in everything["Rows"][0]["Data"]


def test_rejected_records_tell_which(write, table):
    def record(value):
        return {"Dimensions": [{"Name": "host", "Value": "h"}], "MeasureName": "cpu", "MeasureValue": value,
                "Time": str(time.time_ns() // 10**9 * 1000), "Version": 1}
    first = record("1")
    write.write_records(**table, Records=[first])
    write.write_records(**table, Records=[first])
    with pytest.raises(write.exceptions.RejectedRecordsException) as caught:
        write.write_records(**table, Records=[{**first, "MeasureValue": "2"}])
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 419
    assert [rejected["RecordIndex"] for rejected in response["RejectedRecords"]] == [0]
    write.write_records(**table, Records=[{**first, "MeasureValue": "2", "Version": 2}])


def test_pages(write, query, table):
    first = int(time.time() * 1000) - 10_000
    for start in range(0, 2500, 100):
        records = [{"MeasureName": "n", "MeasureValue": str(n), "MeasureValueType": "BIGINT", "Time": str(first + n),
                    "Dimensions": [{"Name": "host", "Value": "h"}]} for n in range(start, start + 100)]
        write.write_records(**table, Records=records)
    sql = 'SELECT measure_value::bigint FROM "db-1"."t.1" ORDER BY time'
    expected = [[str(n)] for n in range(2500)]
    assert rows(query, sql) == expected
    assert rows(query, sql, PaginationConfig={"PageSize": 700}) == expected


def test_query_mistakes_are_validation_exceptions(query):
    for sql in ["SELECT", "SELECT nothing", "SELECT 1 FROM no.t", "DROP TABLE x", "SELECT no_such_function(1)"]:
        with pytest.raises(query.exceptions.ValidationException):
            query.query(QueryString=sql)


def test_lists_come_in_pages(write):
    """By hand, as programs must: botocore has no paginators for these."""
    databases, tables = [f"d-{n:02}" for n in range(25)], [f"t-{n:02}" for n in range(45)]
    for name in databases:
        write.create_database(DatabaseName=name)
    for name in tables:
        write.create_table(DatabaseName="d-07", TableName=name)

    def listed(list_page, member, **options):
        names, sizes = [], []
        while True:
            page = list_page(**options)
            names += [item[member] for item in page[f"{member[:-4]}s"]]
            sizes.append(len(page[f"{member[:-4]}s"]))
            if not page.get("NextToken"):
                return names, sizes
            options["NextToken"] = page["NextToken"]

    assert listed(write.list_databases, "DatabaseName") == (databases, [20, 5])
    assert listed(write.list_databases, "DatabaseName", MaxResults=9) == (databases, [9, 9, 7])
    assert listed(write.list_tables, "TableName") == (tables, [20, 20, 5])
    assert listed(write.list_tables, "TableName", DatabaseName="d-07", MaxResults=15) == (tables, [15, 15, 15])
    with pytest.raises(write.exceptions.ValidationException):
        write.list_tables(NextToken="no token")
    with pytest.raises(write.exceptions.ResourceNotFoundException):
        write.list_tables(DatabaseName="none")


def test_partition_keys_are_enforced(write, table):
    def key(**key):
        return {"CompositePartitionKey": [key]}
    keyed = {"DatabaseName": "db-1", "TableName": "keyed"}
    required = key(Type="DIMENSION", Name="host", EnforcementInRecord="REQUIRED")
    assert write.create_table(**keyed, Schema=required)["Table"]["Schema"] == required
    record = {"MeasureName": "cpu", "MeasureValue": "1", "Time": str(int(time.time() * 1000))}
    records = [{**record, "Dimensions": [{"Name": name, "Value": "v"}]} for name in ["host", "other"]]
    with pytest.raises(write.exceptions.RejectedRecordsException) as caught:
        write.write_records(**keyed, Records=records)
    assert [rejected["RecordIndex"] for rejected in caught.value.response["RejectedRecords"]] == [1]
    write.update_table(**keyed, Schema=key(Type="DIMENSION", Name="host", EnforcementInRecord="OPTIONAL"))
    assert write.write_records(**keyed, Records=records)["RecordsIngested"]["Total"] == 2
    wrong = [key(Type="DIMENSION"), key(Type="MEASURE", Name="m"), key(Type="DIMENSION", Name="time"),
             {"CompositePartitionKey": [{"Type": "MEASURE"}, {"Type": "DIMENSION", "Name": "host"}]}]
    for schema in wrong:
        with pytest.raises(write.exceptions.ValidationException):
            write.create_table(DatabaseName="db-1", TableName="wrong", Schema=schema)
    with pytest.raises(write.exceptions.ValidationException):
        write.update_table(**keyed, Schema=key(Type="MEASURE"))


def test_what_boto3_does_not_check(write, query, table):
    """Lengths, ranges, patterns and words are checked by the service alone."""
    record = {"Dimensions": [{"Name": "host", "Value": "h"}], "MeasureName": "cpu", "MeasureValue": "1",
              "Time": str(int(time.time() * 1000))}
    retention = {"MemoryStoreRetentionPeriodInHours": 8767, "MagneticStoreRetentionPeriodInDays": 1}
    wrong = [
        (write.write_records, {**table, "Records": [record] * 101}),
        (write.write_records, {**table, "Records": [{**record, "MeasureValueType": "TEXT"}]}),
        (write.write_records, {**table, "Records": [{**record, "TimeUnit": "HOURS"}]}),
        (write.write_records, {**table, "Records": [{**record, "MeasureValue": "x" * 2049}]}),
        (write.write_records, {**table, "Records": [{**record, "Version": 0}]}),
        (write.write_records, {**table, "Records": [record], "CommonAttributes": {"Dimensions": record["Dimensions"]}}),
        (write.create_database, {"DatabaseName": ""}),
        (write.create_database, {"DatabaseName": "größe"}),
        (write.create_database, {"DatabaseName": "x", "KmsKeyId": "k" * 2049}),
        (write.create_database, {"DatabaseName": "x", "Tags": [{"Key": "k" * 129, "Value": ""}]}),
        (write.create_table, {"DatabaseName": "db-1", "TableName": "x", "RetentionProperties": retention}),
        (write.create_table, {"DatabaseName": "db-1", "TableName": "x", "MagneticStoreWriteProperties": {
            "EnableMagneticStoreWrites": True, "MagneticStoreRejectedDataLocation": {"S3Configuration": {"BucketName": "A_B"}}}}),
        (write.list_databases, {"MaxResults": 21}),
        (query.query, {"QueryString": "SELECT 1", "MaxRows": 1001}),
        (query.query, {"QueryString": "SELECT 1", "ClientToken": "x" * 129}),
        (query.query, {"QueryString": "SELECT 1", "QueryInsights": {"Mode": "ON"}}),
        (query.query, {"QueryString": "SELECT '" + "x" * 262_144 + "'"}),
        (query.cancel_query, {"QueryId": "a-b"}),
    ]
    for call, arguments in wrong:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        response = caught.value.response
        assert response["Error"]["Code"] == "ValidationException", (arguments, response)
        assert response["ResponseMetadata"]["RetryAttempts"] == 0


def test_load_is_a_reason_to_try_again(tmp_path, pytestconfig):
    """More queries than there is room for are throttled, with the exception that SDKs wait on."""
    from conftest import configured, started
    configured(tmp_path, "[query]\nconcurrency = 1\nqueue = 1\n")
    slow = "SELECT count(*) FROM UNNEST(sequence(1, 9000)) AS a (n) CROSS JOIN UNNEST(sequence(1, 9000)) AS b (n) WHERE a.n * b.n < 0"
    with started(tmp_path, pytestconfig) as daemon:
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        client = boto3.client("timestream-query", endpoint_url=daemon.url, config=config)
        codes = []

        def ask():
            try:
                client.query(QueryString=slow)
            except client.exceptions.ThrottlingException as error:
                codes.append(error.response["ResponseMetadata"]["HTTPStatusCode"])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes and set(codes) == {429}


def test_endpoint_from_the_environment(daemon, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", daemon.url)
    assert rows(boto3.client("timestream-query"), "SELECT 1") == [["1"]]
    assert boto3.client("timestream-write").list_databases()["Databases"] == []
