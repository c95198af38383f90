"""UNLOAD with boto3: to folders and to S3, as CSV and Parquet; other programs read what was written."""

import csv
import gzip
import io
import json

import duckdb
import pytest

import bulk
from conftest import configured, started

START = 1_700_000_000_000


@pytest.fixture(params=["folder", "s3"])
def site(request, tmp_path, monkeypatch, pytestconfig):
    bucket = bulk.Folder(tmp_path) if request.param == "folder" else bulk.Served(monkeypatch)
    configured(tmp_path, bucket.keys)
    with started(tmp_path, pytestconfig) as daemon:
        client = bulk.create(daemon)
        for first in range(0, 1000, 100):
            client.write_records(**bulk.NAMES, Records=[{
                "Dimensions": [{"Name": "host", "Value": f"h{n % 3}"}, {"Name": "az", "Value": f"z/{n % 2}"}],
                "MeasureName": "m", "MeasureValueType": "MULTI", "Time": str(START + n),
                "MeasureValues": [
                    {"Name": "cpu", "Value": f"{n}.25", "Type": "DOUBLE"},
                    {"Name": "note", "Value": f'say "{n}", \\ then\nend', "Type": "VARCHAR"},
                    {"Name": "up", "Value": str(n % 2 == 0).lower(), "Type": "BOOLEAN"},
                    {"Name": "seen", "Value": str(START), "Type": "TIMESTAMP"},
                ] + ([{"Name": "count", "Value": str(n), "Type": "BIGINT"}] if n % 10 else []),
            } for n in range(first, first + 100)])
        yield daemon, bucket
    bucket.close()


def unload(daemon, bucket, sql):
    """The rows of the answer's one row, the manifest and the metadata, read from the bucket."""
    answer = daemon.client("timestream-query").query(QueryString=sql)
    assert [column["Name"] for column in answer["ColumnInfo"]] == ["rows", "metadataFile", "manifestFile"]
    rows, metadata, manifest = [datum["ScalarValue"] for datum in answer["Rows"][0]["Data"]]
    read = lambda url: json.loads(bucket.get(url.removeprefix("s3://fleet/")))
    return int(rows), read(manifest), read(metadata), answer["QueryId"]


def files(bucket, manifest):
    return {file["url"].removeprefix("s3://fleet/"): bucket.get(file["url"].removeprefix("s3://fleet/"))
            for file in manifest["result_files"]}


def test_csv_is_read_back(site):
    daemon, bucket = site
    rows, manifest, metadata, query = unload(daemon, bucket, """
        UNLOAD (SELECT host, cpu, note, up, count, time FROM db.readings ORDER BY time)
        TO 's3://fleet/out/csv/' WITH (format = 'CSV', compression = 'NONE', include_header = 'true')""")
    assert rows == 1000
    assert manifest["query_metadata"]["total_row_count"] == 1000
    assert manifest["query_metadata"]["result_format"] == "CSV"
    assert manifest["author"] == {"name": "Amazon Timestream", "manifest_file_version": "1.0"}
    assert [column["Name"] for column in metadata["ColumnInfo"]] == ["host", "cpu", "note", "up", "count", "time"]
    assert metadata["Author"] == {"Name": "Amazon Timestream", "MetadataFileVersion": "1.0"}
    [(key, text)] = files(bucket, manifest).items()
    assert key.startswith(f"out/csv/results/{query}_") and key.endswith(".csv")
    assert manifest["result_files"][0]["file_metadata"] == {"content_length_in_bytes": len(text), "row_count": 1000}
    read = list(csv.reader(io.StringIO(text.decode()), escapechar="\\", doublequote=False))
    assert read[0] == ["host", "cpu", "note", "up", "count", "time"]
    assert read[1] == ["h0", "0.25", 'say "0", \\ then\nend', "true", "", "2023-11-14 22:13:20.000000000"]
    assert read[12] == ["h2", "11.25", 'say "11", \\ then\nend', "false", "11", "2023-11-14 22:13:20.011000000"]
    assert len(read) == 1001


def test_options_and_partitions_of_csv(site):
    daemon, bucket = site
    rows, manifest, metadata, _ = unload(daemon, bucket, """
        UNLOAD (SELECT cpu, note, az, host FROM db.readings)
        TO 's3://fleet/parts' WITH (partitioned_by = ARRAY['az', 'host'], field_delimiter = '|', escaped_by = '^')""")
    assert rows == 1000 and len(manifest["result_files"]) == 6
    assert [column["Name"] for column in metadata["ColumnInfo"]] == ["cpu", "note", "az", "host"]
    found = 0
    for key, text in files(bucket, manifest).items():
        folders = key.split("/")
        assert folders[:2] == ["parts", "results"] and folders[2] in ("az=z%2F0", "az=z%2F1"), key
        assert key.endswith(".gz")
        read = list(csv.reader(io.StringIO(gzip.decompress(text).decode()), delimiter="|", escapechar="^",
                               doublequote=False))
        assert all(len(row) == 2 for row in read)
        assert {int(float(row[0])) % 3 for row in read} == {int(folders[3][-1])}
        found += len(read)
    assert found == 1000


def test_parquet_is_typed(site, tmp_path):
    daemon, bucket = site
    rows, manifest, _, _ = unload(daemon, bucket, """
        UNLOAD (SELECT cpu, note, up, count, seen, time, cast(time AS date) AS day, host FROM db.readings)
        TO 's3://fleet/pq' WITH (format = 'PARQUET', partitioned_by = ARRAY['host'])""")
    assert rows == 1000 and manifest["query_metadata"]["result_format"] == "PARQUET"
    for key, content in files(bucket, manifest).items():
        path = tmp_path / "read" / key.removeprefix("pq/results/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    glob = f"{tmp_path}/read/*/*.parquet"
    types = duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{glob}', hive_partitioning = true)").fetchall()
    # DuckDB has had more than one name for the type of INT96.
    assert [(name, of.removesuffix("_NS")) for name, of, *_ in types] == [
        ("cpu", "DOUBLE"), ("note", "VARCHAR"), ("up", "BOOLEAN"), ("count", "BIGINT"), ("seen", "TIMESTAMP"),
        ("time", "TIMESTAMP"), ("day", "DATE"), ("host", "VARCHAR"),
    ]
    read = duckdb.sql(f"""SELECT count(*), count(count), sum(cpu), min(time)::VARCHAR, min(day)::VARCHAR,
        count(*) FILTER (WHERE up), count(*) FILTER (WHERE host = 'h1'), max(note)
        FROM read_parquet('{glob}', hive_partitioning = true)""").fetchall()[0]
    expected = sum(n + 0.25 for n in range(1000))
    assert read[:3] == (1000, 900, expected)
    assert read[3].startswith("2023-11-14 22:13:20") and read[4:7] == ("2023-11-14", 500, 333)
    assert read[7] == 'say "999", \\ then\nend'
    physical = duckdb.sql(f"SELECT DISTINCT name, type FROM parquet_schema('{glob}') WHERE name IN ('time', 'seen')")
    assert sorted(physical.fetchall()) == [("seen", "INT96"), ("time", "INT96")]


def test_insights_tell_what_was_written(site):
    daemon, bucket = site
    select = "UNLOAD (SELECT cpu, host FROM db.readings WHERE cpu < 100) TO "
    for options, partitions in [("", 1), (" WITH (partitioned_by = ARRAY['host'])", 3)]:
        answer = daemon.client("timestream-query").query(
            QueryString=f"{select} 's3://fleet/i{partitions}'{options}", QueryInsights={"Mode": "ENABLED_WITH_RATE_CONTROL"})
        insights = answer["QueryInsightsResponse"]
        assert (insights["UnloadPartitionCount"], insights["UnloadWrittenRows"]) == (partitions, 100)
        assert insights["UnloadWrittenBytes"] == sum(len(bucket.get(key)) for key in bucket.list(f"i{partitions}/results/"))
        assert (insights["QueryTableCount"], insights["OutputRows"]) == (1, 1)
        assert answer["QueryStatus"]["CumulativeBytesMetered"] >= 10_000_000


def test_complex_values(site, tmp_path):
    daemon, bucket = site
    select = """SELECT host, create_time_series(time, cpu) AS series, array_agg(note) AS notes, ROW(1, 'x') AS pair
        FROM db.readings WHERE cpu < 4 GROUP BY host"""
    _, manifest, _, _ = unload(daemon, bucket,
                               f"UNLOAD ({select}) TO 's3://fleet/c' WITH (compression = 'NONE')")
    [text] = files(bucket, manifest).values()
    read = {row[0]: row for row in csv.reader(io.StringIO(text.decode()), escapechar="\\", doublequote=False)}
    assert json.loads(read["h0"][1]) == [
        {"time": "2023-11-14 22:13:20.000000000Z", "value": 0.25},
        {"time": "2023-11-14 22:13:20.003000000Z", "value": 3.25},
    ]
    assert json.loads(read["h2"][2]) == ['say "2", \\ then\nend']
    assert list(json.loads(read["h1"][3]).values()) == [1, "x"]

    _, manifest, _, _ = unload(daemon, bucket, f"UNLOAD ({select}) TO 's3://fleet/p' WITH (format = 'PARQUET')")
    [content] = files(bucket, manifest).values()
    path = tmp_path / "complex.parquet"
    path.write_bytes(content)
    found = duckdb.sql(f"""SELECT host, len(series), list_sum(list_transform(series, lambda p: p.value)), len(notes),
        pair.field0 FROM '{path}' ORDER BY host""").fetchall()
    assert found == [("h0", 2, 3.5, 2, 1), ("h1", 1, 1.25, 1, 1), ("h2", 1, 2.25, 1, 1)]


def test_what_is_wrong_is_said(site):
    daemon, bucket = site
    client = daemon.client("timestream-query")

    def refused(sql):
        with pytest.raises(client.exceptions.ValidationException) as failed:
            client.query(QueryString=sql)
        return failed.value.response["Error"]["Message"]

    select = "UNLOAD (SELECT cpu, host FROM db.readings) TO "
    assert "does not exist" in refused("UNLOAD (SELECT nothing FROM db.readings) TO 's3://fleet/x'")
    assert refused(select + "'s3://fleet/x' WITH (format = 'ORC')").endswith("it must be 'CSV' or 'PARQUET'")
    assert "must be the last columns" in refused(select + "'s3://fleet/x' WITH (partitioned_by = ARRAY['cpu'])")
    assert "must begin with s3://" in refused(select + "'fleet/x'")
    assert "has no option 'colour'" in refused(select + "'s3://fleet/x' WITH (colour = 'red')")
    assert "it must be 16MB to 78GB" in refused(select + "'s3://fleet/x' WITH (max_file_size = '15MB')")
    assert "will exceed the S3 allowed key length" in refused(select + f"'s3://fleet/{'x' * 1000}'")
    assert "The specified bucket does not exist" in refused(select + "'s3://no-such-bucket/x'")
    assert bucket.list() == [], "a refused UNLOAD leaves no file"
    prepared = client.prepare_query(QueryString=select + "'s3://fleet/x'", ValidateOnly=True)
    assert [column["Name"] for column in prepared["Columns"]] == ["rows", "metadataFile", "manifestFile"]
    assert bucket.list() == [], "a validated UNLOAD writes no file"


def test_a_folder_does_not_pretend_to_encrypt(tmp_path, pytestconfig):
    bucket = bulk.Folder(tmp_path)
    configured(tmp_path, bucket.keys)
    with started(tmp_path, pytestconfig) as daemon:
        client = daemon.client("timestream-query")
        with pytest.raises(client.exceptions.ValidationException, match="a folder, which encrypts nothing"):
            client.query(QueryString="UNLOAD (SELECT 1 AS x) TO 's3://fleet/x' WITH (encryption = 'SSE_KMS')")
