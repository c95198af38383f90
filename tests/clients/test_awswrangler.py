"""awswrangler, unmodified: data frames to tables and back."""

import datetime

import awswrangler as wr
import pandas as pd
import pytest

DATABASE, TABLE = "frames", "t"


@pytest.fixture(params=["option", "environment"])
def frames(daemon, monkeypatch, request):
    """The library pointed at the daemon in each way it knows."""
    urls = {"timestream_write_endpoint_url": daemon.url, "timestream_query_endpoint_url": daemon.url}
    for name, url in urls.items():
        if request.param == "environment":
            monkeypatch.setenv(f"WR_{name.upper()}", url)
        else:
            setattr(wr.config, name, url)
    if request.param == "environment":
        wr.config.reset()
    yield
    monkeypatch.undo()
    wr.config.reset()


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


@pytest.fixture
def table(frames):
    wr.timestream.create_database(DATABASE)
    wr.timestream.create_table(DATABASE, TABLE, memory_retention_hours=1, magnetic_retention_days=1)


def test_tables(table):
    assert wr.timestream.list_databases() == [DATABASE]
    for n in range(25):
        wr.timestream.create_table(DATABASE, f"t{n:02}", memory_retention_hours=1, magnetic_retention_days=1)
    assert len(wr.timestream.list_tables(database=DATABASE)) == 26
    for name in wr.timestream.list_tables():
        wr.timestream.delete_table(DATABASE, name)
    wr.timestream.delete_database(DATABASE)
    assert wr.timestream.list_databases() == []


def test_single_measures(table):
    frame = pd.DataFrame({"time": [now()] * 3, "dim0": ["foo", "boo", "bar"], "dim1": [1, 2, 3], "measure": [1.0, 1.1, 1.2]})
    rejected = wr.timestream.write(df=frame, database=DATABASE, table=TABLE, time_col="time", measure_col="measure",
                                   dimensions_cols=["dim0", "dim1"])
    assert rejected == []
    found = wr.timestream.query(f'SELECT * FROM "{DATABASE}"."{TABLE}" ORDER BY dim0')
    assert found.shape == (3, 5)
    assert found["dim0"].tolist() == ["bar", "boo", "foo"] and found["measure_value::double"].tolist() == [1.2, 1.1, 1.0]
    assert isinstance(found["time"].iloc[0], pd.Timestamp)


def test_multi_measures_of_every_type_and_holes(table):
    frame = pd.DataFrame({
        "time": [now(), now()], "dim": ["a", "b"], "i": pd.array([1, None], dtype="Int64"), "f": [1.5, None],
        "b": [True, False], "s": ["x", "y"], "t": [now(), now()],
    })
    measures = ["i", "f", "b", "s", "t"]
    rejected = wr.timestream.write(df=frame, database=DATABASE, table=TABLE, time_col="time", measure_col=measures,
                                   dimensions_cols=["dim"], measure_name="all", version=1)
    assert rejected == []
    found = wr.timestream.query(f'SELECT dim, i, f, b, s, t FROM "{DATABASE}"."{TABLE}" ORDER BY dim')
    assert found["i"].tolist()[0] == 1 and found["i"].isna().tolist() == [False, True]
    assert found["f"].isna().tolist() == [False, True] and found["b"].tolist() == [True, False]
    assert found["s"].tolist() == ["x", "y"] and (found["t"] - frame["t"]).abs().max() < pd.Timedelta("1ms")


def test_versions(table):
    frame = pd.DataFrame({"time": [now()] * 3, "dim0": ["foo", "boo", "bar"], "measure": [1.0, 1.1, 1.2]})
    options = {"database": DATABASE, "table": TABLE, "time_col": "time", "measure_col": "measure", "dimensions_cols": ["dim0"]}
    assert wr.timestream.write(df=frame, version=1, **options) == []
    frame.loc[2, "measure"] = 1.3
    [rejected] = wr.timestream.write(df=frame, version=1, **options)
    # Its place in the request, and the library makes several of one frame.
    assert "A higher record version must be specified" in rejected["Reason"]
    assert wr.timestream.write(df=frame, version=2, **options) == []
    found = wr.timestream.query(f'SELECT max(measure_value::double) AS m FROM "{DATABASE}"."{TABLE}"')
    assert found["m"].tolist() == [1.3]


@pytest.mark.parametrize("common", [
    {"MeasureName": "m"},
    {"MeasureValue": "13.1", "MeasureValueType": "DOUBLE", "MeasureName": "m"},
    {"MeasureName": "m", "Dimensions": [{"Name": "region", "Value": "eu"}]},
    {"MeasureName": "m", "Version": 4, "TimeUnit": "MILLISECONDS"},
])
def test_common_attributes(table, common):
    frame = pd.DataFrame({"time": [now()] * 2, "dim0": ["foo", "boo"], "measure": [1.0, 2.0]})
    measured = {} if "MeasureValue" in common else {"measure_col": ["measure"]}
    rejected = wr.timestream.write(df=frame, database=DATABASE, table=TABLE, time_col="time", dimensions_cols=["dim0"],
                                   common_attributes=common, **measured)
    assert rejected == []
    count = wr.timestream.query(f'SELECT count(*) AS n FROM "{DATABASE}"."{TABLE}"')
    assert count["n"].tolist() == [2]


def test_chunks_and_empty_results(table):
    start = now()
    frame = pd.DataFrame({"time": [start + datetime.timedelta(milliseconds=n) for n in range(2500)], "dim": "d", "measure": 1.0})
    wr.timestream.write(df=frame, database=DATABASE, table=TABLE, time_col="time", measure_col="measure", dimensions_cols=["dim"])
    chunks = list(wr.timestream.query(f'SELECT * FROM "{DATABASE}"."{TABLE}"', chunked=True))
    assert len(chunks) == 3 and sum(len(chunk) for chunk in chunks) == 2500
    empty = wr.timestream.query(f'SELECT * FROM "{DATABASE}"."{TABLE}" WHERE dim = \'none\'')
    assert empty.empty
