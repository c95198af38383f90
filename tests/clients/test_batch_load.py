"""Batch loads with boto3 and the AWS CLI: from folders and from S3, with mistakes, kills and a lost server."""

import json
import signal

import boto3
import pytest

import bulk
from conftest import configured, started
from test_s3 import Wire, until

START = 1_700_000_000


@pytest.fixture(params=["folder", "s3"])
def site(request, tmp_path, monkeypatch):
    bucket = bulk.Folder(tmp_path) if request.param == "folder" else bulk.Served(monkeypatch)
    configured(tmp_path, bucket.keys)
    yield tmp_path, bucket
    bucket.close()


def definition(prefix, **changes):
    return {
        "DataModelConfiguration": {"DataModel": {
            "TimeColumn": "at", "TimeUnit": "SECONDS",
            "DimensionMappings": [{"SourceColumn": "host"}],
            "MultiMeasureMappings": {
                "TargetMultiMeasureName": "metrics",
                "MultiMeasureAttributeMappings": [
                    {"SourceColumn": "cpu", "MeasureValueType": "DOUBLE"},
                    {"SourceColumn": "note", "MeasureValueType": "VARCHAR"},
                ],
            },
        }},
        "DataSourceConfiguration": {
            "DataSourceS3Configuration": {"BucketName": "fleet", "ObjectKeyPrefix": prefix}, "DataFormat": "CSV",
        },
        "ReportConfiguration": {"ReportS3Configuration": {"BucketName": "fleet", "ObjectKeyPrefix": "reports/"}},
        "TargetDatabaseName": "db", "TargetTableName": "readings",
        **changes,
    }


def text(first, count):
    lines = [f'h{n % 7},{n}.5,"a ""note"", {n}",{START + n}' for n in range(first, first + count)]
    return "\n".join(["host,cpu,note,at", *lines]) + "\n"


def test_files_of_a_bucket_become_rows(site, pytestconfig):
    folder, bucket = site
    bucket.put("in/one.csv", text(0, 1000))
    bucket.put("in/two.csv", text(1000, 5).replace("\n", "\r\n")[:-2])
    bucket.put("other.csv", "not,ours\n")
    with started(folder, pytestconfig) as daemon:
        client = bulk.create(daemon)
        task = client.create_batch_load_task(**definition("in/"))["TaskId"]
        found = bulk.ended(client, task)
        assert found["TaskStatus"] == "SUCCEEDED", found
        assert found["ProgressReport"]["RecordsIngested"] == 1005
        assert found["RecordVersion"] == 1
        model = found["DataModelConfiguration"]["DataModel"]
        assert model["DimensionMappings"] == [{"SourceColumn": "host", "DestinationColumn": "host"}]
        assert bulk.rows(daemon, "SELECT count(*), min(cpu), max(note) FROM db.readings WHERE cpu < 9") == [
            ["9", "0.5", 'a "note", 8'],
        ]
        listed = client.list_batch_load_tasks()["BatchLoadTasks"]
        assert [one["TaskId"] for one in listed] == [task]
        described = daemon.cli("timestream-write", "describe-batch-load-task", "--task-id", task,
                               "--endpoint-url", daemon.url)
        assert described["BatchLoadTaskDescription"]["TaskStatus"] == "SUCCEEDED"


def test_mistakes_are_reported_in_the_bucket(site, pytestconfig):
    folder, bucket = site
    bucket.put("in/bad.csv", "host,cpu,note,at\na,1,x,1\na,2,x,2\na,no,x,3\na,no,x,4\na,1\n")
    with started(folder, pytestconfig) as daemon:
        client = bulk.create(daemon)
        task = client.create_batch_load_task(**definition("in/"))["TaskId"]
        found = bulk.ended(client, task)
        assert found["TaskStatus"] == "FAILED", found
        progress = found["ProgressReport"]
        assert (progress["RecordsProcessed"], progress["RecordsIngested"], progress["ParseFailures"]) == (5, 2, 3)
        report = json.loads(bucket.get(f"reports/{task}/error-report.json"))
        assert report == {"taskId": task, "taskErrors": [], "fileErrors": [{"fileName": "in/bad.csv", "errors": [
            {"reason": "The value of the column 'cpu' is not a valid double.", "lineRanges": [[4, 5]]},
            {"reason": "The row does not have 4 columns as the header has.", "lineRanges": [[6, 6]]},
        ]}]}


def test_reports_are_encrypted_as_asked(site, pytestconfig):
    folder, bucket = site
    bucket.put("in/bad.csv", "host,cpu,note,at\na,no,x,1\n")
    wanted = [({}, {}), ({"EncryptionOption": "SSE_S3"}, {"ServerSideEncryption": "AES256"}),
              ({"EncryptionOption": "SSE_KMS", "KmsKeyId": "alias/ours"},
               {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/ours"})]
    with started(folder, pytestconfig) as daemon:
        client = bulk.create(daemon)
        for options, told in wanted:
            place = {"ReportS3Configuration": {"BucketName": "fleet", "ObjectKeyPrefix": "reports/", **options}}
            task = client.create_batch_load_task(**definition("in/", ReportConfiguration=place))["TaskId"]
            assert bulk.ended(client, task)["ReportConfiguration"] == place
            key = f"reports/{task}/error-report.json"
            assert json.loads(bucket.get(key))["taskId"] == task
            # A folder takes it as it is.
            assert told.items() <= bucket.head(key).items() or isinstance(bucket, bulk.Folder)


def test_a_kill_in_the_middle_loses_and_doubles_nothing(site, pytestconfig):
    folder, bucket = site
    count = 200_000
    bucket.put("in/one.csv", text(0, count // 2))
    bucket.put("in/two.csv", text(count // 2, count // 2))
    with started(folder, pytestconfig) as daemon:
        client = bulk.create(daemon)
        task = client.create_batch_load_task(**definition("in/"))["TaskId"]
        progress = lambda: client.describe_batch_load_task(TaskId=task)["BatchLoadTaskDescription"]
        until(lambda: progress()["ProgressReport"]["RecordsIngested"] > 5_000, "nothing is loaded")
        seen = progress()
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    assert seen["TaskStatus"] == "IN_PROGRESS", "the load was quicker than the kill"
    with started(folder, pytestconfig) as daemon:
        client = daemon.client("timestream-write")
        found = bulk.ended(client, task)
        assert found["TaskStatus"] == "SUCCEEDED", found
        assert found["ProgressReport"]["RecordsIngested"] == count
        sql = "SELECT count(*), count(DISTINCT time), sum(cpu) FROM db.readings"
        [[rows, times, total]] = bulk.rows(daemon, sql)
        assert (int(rows), int(times)) == (count, count)
        assert float(total) == sum(n + 0.5 for n in range(count))


def test_a_lost_server_stops_a_task_that_can_be_resumed(tmp_path, monkeypatch, pytestconfig):
    bucket = bulk.Served(monkeypatch)
    wire = Wire(("127.0.0.1", int(bucket.url.rsplit(":", 1)[1])))
    configured(tmp_path, '[buckets]\nendpoint = "http://%s:%d"\n' % wire.address)
    count = 150_000
    bucket.put("in/one.csv", text(0, count))
    bucket.put("in/two.csv", text(count, 10))
    with started(tmp_path, pytestconfig) as daemon:
        client = bulk.create(daemon)
        task = client.create_batch_load_task(**definition("in/"))["TaskId"]
        progress = lambda: client.describe_batch_load_task(TaskId=task)["BatchLoadTaskDescription"]
        until(lambda: progress()["ProgressReport"]["RecordsIngested"] > 1_000, "nothing is loaded")
        wire.cut()
        found = bulk.ended(client, task)
        assert found["TaskStatus"] == "PROGRESS_STOPPED", found
        assert found["ResumableUntil"] > found["LastUpdatedTime"]
        assert "s3://fleet" in found["ErrorMessage"]
        wire.mend()
        client.resume_batch_load_task(TaskId=task)
        with pytest.raises(client.exceptions.ValidationException, match="only one with PROGRESS_STOPPED"):
            client.resume_batch_load_task(TaskId=task)
        until(lambda: progress()["TaskStatus"] in ("SUCCEEDED", "FAILED", "PROGRESS_STOPPED"), "it does not go on")
        assert progress()["TaskStatus"] == "SUCCEEDED", progress()
        assert bulk.rows(daemon, "SELECT count(*) FROM db.readings") == [[str(count + 10)]]
    wire.listener.close()
    wire.cut()
    bucket.close()


def test_what_cannot_be_loaded_is_refused_as_typed_exceptions(tmp_path, pytestconfig):
    bucket = bulk.Folder(tmp_path)
    bucket.put("in/one.csv", text(0, 1))
    configured(tmp_path, bucket.keys)
    with started(tmp_path, pytestconfig) as daemon:
        client = bulk.create(daemon)
        wrong = client.exceptions
        with pytest.raises(wrong.ResourceNotFoundException, match="The table none does not exist."):
            client.create_batch_load_task(**definition("in/", TargetTableName="none"))
        with pytest.raises(wrong.ValidationException, match="There is no file to load at s3://fleet/none"):
            client.create_batch_load_task(**definition("none"))
        source = {"DataSourceS3Configuration": {"BucketName": "UPPER"}, "DataFormat": "CSV"}
        with pytest.raises(wrong.ValidationException, match="at 'dataSourceConfiguration.dataSourceS3Configuration.bucketName'"):
            client.create_batch_load_task(**definition("in/", DataSourceConfiguration=source))
        with pytest.raises(wrong.ResourceNotFoundException):
            client.describe_batch_load_task(TaskId="0" * 32)
        with pytest.raises(wrong.ResourceNotFoundException):
            client.resume_batch_load_task(TaskId="0" * 32)
        token = "t" * 40
        first = client.create_batch_load_task(**definition("in/", ClientToken=token))["TaskId"]
        assert client.create_batch_load_task(**definition("in/", ClientToken=token))["TaskId"] == first
        with pytest.raises(wrong.ConflictException):
            client.create_batch_load_task(**definition("in/", ClientToken=token, RecordVersion=2))
        for _ in range(2):
            bulk.ended(client, client.create_batch_load_task(**definition("in/"))["TaskId"])
        page = client.list_batch_load_tasks(MaxResults=2)
        rest = client.list_batch_load_tasks(MaxResults=2, NextToken=page["NextToken"])
        ids = [one["TaskId"] for one in page["BatchLoadTasks"] + rest["BatchLoadTasks"]]
        assert len(set(ids)) == 3 and ids[-1] == first and "NextToken" not in rest
        assert client.list_batch_load_tasks(TaskStatus="FAILED")["BatchLoadTasks"] == []
