"""The files of the store, read by a tool that knows nothing of it."""

import duckdb


def test_duckdb_reads_the_parts(daemon):
    """Every row of a flushed table, equal value for value."""
    write, query = daemon.client("timestream-write"), daemon.client("timestream-query")
    names = {"DatabaseName": "db", "TableName": "parts"}
    write.create_database(DatabaseName="db")
    write.create_table(**names)
    start = 1_700_000_000_000
    for batch in range(3):
        records = [{
            "Dimensions": [{"Name": "host", "Value": f"h{n % 7}"}, {"Name": "größe", "Value": "ü"}],
            "MeasureName": "cpu", "MeasureValueType": "MULTI", "Time": str(start + n * 1000),
            "MeasureValues": [
                {"Name": "usage", "Value": str(n / 8), "Type": "DOUBLE"},
                {"Name": "count", "Value": str(-n), "Type": "BIGINT"},
                {"Name": "ok", "Value": str(n % 2 == 0), "Type": "BOOLEAN"},
            ],
        } for n in range(batch * 100, batch * 100 + 100)]
        write.write_records(**names, Records=records)
    parts = daemon.flush()
    columns = 'host, "größe", measure_name, strftime(time, \'%Y-%m-%d %H:%M:%S\'), usage, count, ok'
    files = [str(part) for part in parts]
    by_duckdb = duckdb.sql(f"SELECT {columns} FROM read_parquet({files}) ORDER BY time").fetchall()
    sql = 'SELECT host, "größe", measure_name, time, usage, count, ok FROM db.parts ORDER BY time'
    rows = query.query(QueryString=sql)["Rows"]
    texts = [[datum["ScalarValue"] for datum in row["Data"]] for row in rows]
    by_query = [
        (host, size, name, moment[:19], float(usage), int(count), ok == "true")
        for host, size, name, moment, usage, count, ok in texts
    ]
    assert len(by_query) == 300
    assert by_duckdb == by_query
