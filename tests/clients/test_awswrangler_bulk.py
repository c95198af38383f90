"""The bulk calls of awswrangler, unmodified, beside moto's S3: batch_load, unload and their relatives."""

import awswrangler as wr
import pandas as pd
import pytest

import bulk
from conftest import configured, started


@pytest.fixture
def daemon(tmp_path, monkeypatch, pytestconfig):
    bucket = bulk.Served(monkeypatch)
    configured(tmp_path, bucket.keys)
    with started(tmp_path, pytestconfig) as daemon:
        bulk.create(daemon)
        wr.config.timestream_write_endpoint_url = daemon.url
        wr.config.timestream_query_endpoint_url = daemon.url
        wr.config.s3_endpoint_url = bucket.url
        yield daemon
    for name in ("timestream_write_endpoint_url", "timestream_query_endpoint_url", "s3_endpoint_url"):
        wr.config.reset(name)
    bucket.close()


@pytest.fixture
def frame():
    count = 500
    return pd.DataFrame({
        "time": [1_700_000_000_000 + n for n in range(count)],
        "region": [f"r{n % 2}" for n in range(count)],
        "location": [f"l{n % 5}" for n in range(count)],
        "memory": [n * 0.5 for n in range(count)],
        "cpu": list(range(count)),
        "measure": ["metrics"] * count,
    })


LOAD = {
    "database": "db", "table": "readings", "time_col": "time", "dimensions_cols": ["region", "location"],
    "measure_cols": ["memory", "cpu"], "measure_name_col": "measure",
    "report_s3_configuration": {"BucketName": "fleet", "ObjectKeyPrefix": "reports"},
    "timestream_batch_load_wait_polling_delay": 0.05,
}


def test_batch_load_and_unload(daemon, frame):
    loaded = wr.timestream.batch_load(df=frame, path="s3://fleet/load/", **LOAD)
    report = loaded["BatchLoadTaskDescription"]
    assert report["TaskStatus"] == "SUCCEEDED" and report["ProgressReport"]["RecordsIngested"] == 500
    counted = wr.timestream.query("SELECT count(*) AS n, sum(cpu) AS total FROM db.readings")
    assert counted.to_dict("records") == [{"n": 500, "total": sum(range(500))}]

    sql = "SELECT time, memory, cpu, location, region FROM db.readings"
    whole = wr.timestream.unload(sql=sql, path="s3://fleet/unload/")
    assert len(whole) == 500 and whole["cpu"].sum() == sum(range(500))
    assert str(whole["time"].min()) == "2023-11-14 22:13:20"
    parts = wr.timestream.unload(sql=sql, path="s3://fleet/parts/", partition_cols=["region"])
    assert sorted(parts["region"].unique()) == ["r0", "r1"] and len(parts) == 500
    text = wr.timestream.unload(sql=sql, path="s3://fleet/text/", unload_format="CSV", partition_cols=["region"])
    assert list(text.columns) == ["time", "memory", "cpu", "location", "region"]
    assert text["memory"].sum() == frame["memory"].sum()


def test_files_in_and_out(daemon, frame):
    wr.s3.to_csv(df=frame, path="s3://fleet/files/", index=False, dataset=True, sep="|")
    loaded = wr.timestream.batch_load_from_files(
        path="s3://fleet/files/", measure_types=["DOUBLE", "BIGINT"], record_version=3,
        data_source_csv_configuration={"ColumnSeparator": "|"}, **LOAD,
    )
    assert loaded["BatchLoadTaskDescription"]["ProgressReport"]["RecordsIngested"] == 500
    wr.timestream.unload_to_files(
        sql="SELECT cpu, region FROM db.readings", path="s3://fleet/out", unload_format="CSV", compression="NONE",
        partition_cols=["region"],
    )
    found = wr.s3.list_objects("s3://fleet/out/results/")
    assert len(found) == 2 and all("/region=r" in key for key in found)
