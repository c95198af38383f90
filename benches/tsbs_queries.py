#!/usr/bin/env python3
"""The queries of TSBS' devops set over Tidemill's HTTP API, beside DuckDB on the same Parquet parts.

    pip install duckdb
    benches/tsbs_queries.py --binary target/release/tidemill --hosts 4000 --hours 12

Loads the hosts through WriteRecords, flushes, waits for compaction to come to rest, and lets both sides
take turns on every query with the same number of threads. Printed: the best of `--rounds` each, and their
ratio. `--cold` makes the kernel forget the parts before every turn. Answers are compared row by row.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

GAUGES = ["usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait", "usage_irq",
          "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"]
FIRST = 1_767_225_600  # 2026-01-01
STEP = 10
ROWS = 100


class Tidemill:
    """A daemon on an empty folder."""

    def __init__(self, binary, folder):
        self.data = folder / "data"
        (folder / "rules").mkdir()
        config = folder / "config.toml"
        config.write_text(f'[mqtt]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n'
                          f'[store]\npath = "{self.data}"\n')
        self.process = subprocess.Popen([binary, "serve", "--config", str(config)], cwd=folder,
                                        stdout=subprocess.PIPE, stderr=open(folder / "log", "w"), text=True)
        ready = dict(word.split("=", 1) for word in self.process.stdout.readline().split()[1:])
        self.address = ready["http"]
        self.connection = http.client.HTTPConnection(self.address)

    def call(self, action, body):
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"Timestream_20181101.{action}"}
        self.connection.request("POST", "/", json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{action}: {answer.status} {text[:500]!r}")
        return json.loads(text)

    def query(self, sql):
        rows, request = [], {"QueryString": sql}
        while True:
            page = self.call("Query", request)
            rows += page["Rows"]
            if "NextToken" not in page:
                return rows
            request["NextToken"] = page["NextToken"]

    def parts(self):
        return sorted(self.data.rglob("*.parquet"))

    def load(self, hosts, hours, single):
        """One table with a record of ten measures a reading, or one with ten records."""
        table = "single" if single else "multi"
        self.call("CreateTable", {"DatabaseName": "bench", "TableName": table})
        chance = random.Random(1)
        tags = [{"hostname": f"host_{host}", "region": f"region-{host % 9}", "rack": str(host % 100),
                 "os": f"os-{host % 3}", "team": f"team-{host % 4}"} for host in range(hosts)]
        dimensions = [[{"Name": name, "Value": value} for name, value in one.items()] for one in tags]
        records, begin, count = [], time.monotonic(), 0
        for step in range(hours * 3600 // STEP):
            moment = str((FIRST + step * STEP) * 1000)
            for host in range(hosts):
                values = [str(float(chance.randrange(101))) for _ in GAUGES]
                if single:
                    records += [{"Dimensions": dimensions[host], "MeasureName": name, "MeasureValue": value,
                                 "Time": moment} for name, value in zip(GAUGES, values)]
                else:
                    records.append({"Dimensions": dimensions[host], "MeasureName": "cpu",
                                    "MeasureValueType": "MULTI", "Time": moment,
                                    "MeasureValues": [{"Name": name, "Value": value, "Type": "DOUBLE"}
                                                      for name, value in zip(GAUGES, values)]})
                while len(records) >= ROWS:
                    self.call("WriteRecords", {"DatabaseName": "bench", "TableName": table,
                                               "Records": records[:ROWS]})
                    records, count = records[ROWS:], count + ROWS
        if records:
            self.call("WriteRecords", {"DatabaseName": "bench", "TableName": table, "Records": records})
        print(f"{table}: {count + len(records)} rows in {time.monotonic() - begin:.0f} s", flush=True)

    def rest(self):
        """Flushes, and waits until the parts stay the same for a while."""
        self.process.send_signal(signal.SIGUSR1)
        seen, since = None, time.monotonic()
        while time.monotonic() - since < 10:
            time.sleep(0.5)
            if self.parts() != seen or not seen:
                seen, since = self.parts(), time.monotonic()


def queries(hosts, hours):
    """Name, Timestream SQL for the table of ten measures, and what DuckDB is asked."""
    chance = random.Random(2)
    end = FIRST + hours * 3600

    def window(length):
        length = min(length, hours)
        begin = chance.randrange(FIRST, end - length * 3600 + 1)
        return tuple(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) for at in (begin, begin + length * 3600))

    def where(length, count):
        begin, until = window(length)
        text = f"time >= TIMESTAMP '{begin}' AND time < TIMESTAMP '{until}'"
        if count:
            names = chance.sample(range(hosts), min(count, hosts))
            text += " AND hostname IN (" + ", ".join(f"'host_{name}'" for name in names) + ")"
        return text

    def both(name, sql):
        duck = sql.replace("bin(time, 1m)", "time_bucket(INTERVAL '1 minute', time)")
        duck = duck.replace("bin(time, 1h)", "time_bucket(INTERVAL '1 hour', time)").replace("max_by", "arg_max")
        return name, sql, duck

    def gauges(function, count):
        return ", ".join(f"{function}({name}) AS {name}" for name in GAUGES[:count])

    for metrics, count, length in ((1, 1, 1), (1, 1, 12), (1, 8, 1), (5, 1, 1), (5, 1, 12), (5, 8, 1)):
        yield both(f"single-groupby-{metrics}-{count}-{length}",
                   f"SELECT bin(time, 1m) AS minute, {gauges('max', metrics)} FROM T WHERE {where(length, count)} "
                   "GROUP BY bin(time, 1m) ORDER BY 1")
    for metrics in (1, 5, 10):
        yield both(f"double-groupby-{metrics if metrics < 10 else 'all'}",
                   f"SELECT bin(time, 1h) AS hour, hostname, {gauges('avg', metrics)} FROM T WHERE {where(12, 0)} "
                   "GROUP BY bin(time, 1h), hostname ORDER BY 1, 2 LIMIT 1000")
    for count in (1, 8):
        yield both(f"cpu-max-all-{count}",
                   f"SELECT bin(time, 1h) AS hour, {gauges('max', 10)} FROM T WHERE {where(8, count)} "
                   "GROUP BY bin(time, 1h) ORDER BY 1")
    yield both("high-cpu-1", f"SELECT time, hostname, {', '.join(GAUGES)} FROM T WHERE usage_user > 90.0 AND "
                             f"{where(12, 1)} ORDER BY time")
    # All hosts: summed up, because a page of the API holds 1,000 rows.
    yield both("high-cpu-all", f"SELECT count(*) AS n, {gauges('sum', 10)} FROM T WHERE usage_user > 90.0 AND "
                               f"{where(12, 0)}")
    yield both("lastpoint", f"SELECT hostname, max(time) AS last, "
                            f"{', '.join(f'max_by({name}, time) AS {name}' for name in GAUGES)} FROM T "
                            "GROUP BY hostname ORDER BY 1 LIMIT 1000")
    yield both("groupby-orderby-limit", f"SELECT bin(time, 1m) AS minute, max(usage_user) AS u FROM T WHERE time < "
                                        f"TIMESTAMP '{window(1)[1]}' GROUP BY bin(time, 1m) ORDER BY 1 DESC LIMIT 5")
    yield both("full-scan", f"SELECT bin(time, 1h) AS hour, hostname, {gauges('avg', 1)}, max(usage_idle) AS m FROM T "
                            "GROUP BY bin(time, 1h), hostname ORDER BY 1, 2 LIMIT 1000")


def of_single(sql):
    """The same question of ten records a reading: a measure is a row."""
    inner = ", ".join(f"max(IF(measure_name = '{name}', measure_value::double)) AS {name}" for name in GAUGES
                      if name in sql)
    return sql.replace("FROM T", f"FROM (SELECT time, hostname, {inner} FROM bench.single GROUP BY time, hostname)")


def plain(rows):
    """Rows of the API as DuckDB has them."""
    def value(datum):
        text = datum.get("ScalarValue")
        try:
            return float(text)
        except (TypeError, ValueError):
            return text if text is None else text[:19]
    return [[value(datum) for datum in row["Data"]] for row in rows]


def forget(parts):
    for part in parts:
        with open(part, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def same(ours, theirs):
    def close(a, b):
        if isinstance(a, float) and isinstance(b, (int, float)):
            return abs(a - float(b)) <= 1e-9 * max(1.0, abs(a))
        return a == str(b)[:19]
    return len(ours) == len(theirs) and all(close(a, b) for x, y in zip(ours, theirs) for a, b in zip(x, y))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath)
    parser.add_argument("--hosts", type=int, default=4000)
    parser.add_argument("--hours", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single", action="store_true", help="one record a measure, the same questions")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--folder", default=None, help="where the data lies; /tmp may be memory")
    given = parser.parse_args()
    import duckdb
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        tidemill = Tidemill(given.binary, pathlib.Path(folder))
        try:
            tidemill.call("CreateDatabase", {"DatabaseName": "bench"})
            tidemill.load(given.hosts, given.hours, False)
            if given.single:
                tidemill.load(given.hosts, given.hours, True)
            tidemill.rest()
            measure(tidemill, duckdb, given)
        finally:
            tidemill.process.terminate()
            tidemill.process.wait(timeout=60)


def measure(tidemill, duckdb, given):
    parts = tidemill.parts()
    multi = [str(part) for part in parts if "usage_user" in
             {row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{part}')").fetchall()}]
    bytes_all = sum(os.path.getsize(part) for part in multi)
    threads = len(os.sched_getaffinity(0))
    duckdb.sql(f"SET threads = {threads}")
    print(f"{given.hosts} hosts x {given.hours} h: {len(multi)} parts, {bytes_all / 1e6:.0f} MB, {threads} threads, "
          f"{'cold' if given.cold else 'warm'}, best of {given.rounds}, ms")
    for name, sql, duck in queries(given.hosts, given.hours):
        ours_sql = of_single(sql) if given.single else sql.replace("FROM T", "FROM bench.multi")
        duck = duck.replace("FROM T", f"FROM read_parquet({multi}, union_by_name = true)")
        ours, theirs = [], []
        for turn in range(given.rounds + 1):
            if given.cold:
                forget(parts)
            begin = time.perf_counter()
            rows = tidemill.query(ours_sql)
            ours.append(time.perf_counter() - begin)
            if given.cold:
                forget(parts)
            begin = time.perf_counter()
            expected = duckdb.sql(duck).fetchall()
            theirs.append(time.perf_counter() - begin)
        if not same(plain(rows), expected):
            sys.exit(f"{name}: the answers differ\n{plain(rows)[:3]}\n{expected[:3]}")
        # The first turn is the warm-up.
        best_ours, best_theirs = min(ours[1:]) * 1e3, min(theirs[1:]) * 1e3
        print(f"{name:24} tidemill {best_ours:9.1f}   duckdb {best_theirs:9.1f}   {best_ours / best_theirs:5.2f} x",
              flush=True)


if __name__ == "__main__":
    main()
