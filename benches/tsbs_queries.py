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
        (folder / "rules").mkdir(exist_ok=True)
        config = folder / "config.toml"
        config.write_text(f'[mqtt]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n'
                          f'[store]\npath = "{self.data}"\n')
        self.process = subprocess.Popen([binary, "serve", "--config", str(config)], cwd=folder,
                                        stdout=subprocess.PIPE, stderr=open(folder / "log", "w"), text=True)
        ready = dict(word.split("=", 1) for word in self.process.stdout.readline().split()[1:])
        self.address = ready["http"]
        self.connection = http.client.HTTPConnection(self.address)

    def call(self, action, body):
        return json.loads(self.send(action, json.dumps(body)))

    def send(self, action, body):
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"Timestream_20181101.{action}"}
        self.connection.request("POST", "/", body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{action}: {answer.status} {text[:500]!r}")
        return text

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
        dimensions = [json.dumps([{"Name": name, "Value": value} for name, value in (
            ("hostname", f"host_{host}"), ("region", f"region-{host % 9}"), ("rack", str(host % 100)),
            ("os", f"os-{host % 3}"), ("team", f"team-{host % 4}"))]) for host in range(hosts)]
        if single:
            common = '"MeasureValueType": "DOUBLE"'
            made = [[f'"MeasureName": "{name}", "MeasureValue": "{n}.0"}}' for n in range(101)] for name in GAUGES]
        else:
            common = '"MeasureValueType": "MULTI", "MeasureName": "cpu"'
            made = [[f'{{"Name": "{name}", "Value": "{n}.0", "Type": "DOUBLE"}}' for n in range(101)] for name in GAUGES]
        count, begin = 0, time.monotonic()
        for step in range(hours * 3600 // STEP):
            columns = [chance.choices(values, k=hosts) for values in made]
            if single:
                records = [f'{{"Dimensions": {of}, {one}' for of, row in zip(dimensions, zip(*columns)) for one in row]
            else:
                records = [f'{{"Dimensions": {of}, "MeasureValues": [{", ".join(row)}]}}'
                           for of, row in zip(dimensions, zip(*columns))]
            head = (f'{{"DatabaseName": "bench", "TableName": "{table}", "CommonAttributes": {{{common}, '
                    f'"Time": "{(FIRST + step * STEP) * 1000}"}}, "Records": [')
            for first in range(0, len(records), ROWS):
                self.send("WriteRecords", head + ", ".join(records[first:first + ROWS]) + "]}")
            count += len(records)
        print(f"{table}: {count} rows in {time.monotonic() - begin:.0f} s", flush=True)

    def rest(self):
        """Flushes, and waits until the parts stay the same for a while."""
        self.process.send_signal(signal.SIGUSR1)
        seen, since = None, time.monotonic()
        while time.monotonic() - since < 40:
            time.sleep(0.5)
            if self.parts() != seen or not seen:
                seen, since = self.parts(), time.monotonic()
        # The daemon has given up a connection that nobody used for so long.
        self.connection.close()


def queries(hosts, hours, single):
    """Name, Timestream SQL, and what DuckDB is asked. With one record a measure the questions are put as
    TSBS' own generator puts them to Timestream: a CASE for each measure, and `measure_name` in the filter."""
    chance = random.Random(2)
    end = FIRST + hours * 3600
    value = "measure_value::double"

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
        return name, sql, duck.replace(value, f'"{value}"')

    def gauge(function, name):
        of = f"CASE WHEN measure_name = '{name}' THEN {value} END" if single else name
        return f"{function}({of}) AS {name}"

    def gauges(function, count):
        return ", ".join(gauge(function, name) for name in GAUGES[:count])

    def measures(*names):
        """The condition that keeps the records with these measures, and what joins it to others."""
        return "measure_name IN (" + ", ".join(f"'{name}'" for name in names) + ") AND " if single else ""

    for metrics, count, length in ((1, 1, 1), (1, 1, 12), (1, 8, 1), (5, 1, 1), (5, 1, 12), (5, 8, 1)):
        yield both(f"single-groupby-{metrics}-{count}-{length}",
                   f"SELECT bin(time, 1m) AS minute, {gauges('max', metrics)} FROM T "
                   f"WHERE {measures(*GAUGES[:metrics])}{where(length, count)} GROUP BY bin(time, 1m) ORDER BY 1")
    for metrics in (1, 5, 10):
        yield both(f"double-groupby-{metrics if metrics < 10 else 'all'}",
                   f"SELECT bin(time, 1h) AS hour, hostname, {gauges('avg', metrics)} FROM T "
                   f"WHERE {measures(*GAUGES[:metrics])}{where(12, 0)} "
                   "GROUP BY bin(time, 1h), hostname ORDER BY 1, 2 LIMIT 1000")
    for count in (1, 8):
        yield both(f"cpu-max-all-{count}",
                   f"SELECT bin(time, 1h) AS hour, {gauges('max', 10)} FROM T WHERE {measures(*GAUGES)}"
                   f"{where(8, count)} GROUP BY bin(time, 1h) ORDER BY 1")
    for name, count in (("high-cpu-1", 1), ("high-cpu-all", 0)):
        what = where(12, count)
        # Of all hosts the readings are summed up, because a page of the API holds 1,000 rows.
        if single:
            busy = f"WITH busy AS (SELECT time, hostname FROM T WHERE measure_name = 'usage_user' AND {value} > 90.0 " \
                   f"AND {what}) "
            select = "a.time AS time, a.hostname AS hostname, measure_name, " + value if count else \
                     f"measure_name, count(*) AS n, sum({value}) AS s"
            order = "ORDER BY 1, 3" if count else "GROUP BY measure_name ORDER BY 1"
            what = what.replace("time ", "a.time ").replace("hostname ", "a.hostname ")
            yield both(name, f"{busy}SELECT {select} FROM T a JOIN busy b ON a.hostname = b.hostname AND "
                             f"a.time = b.time WHERE {what} {order}")
        else:
            select = f"time, hostname, {', '.join(GAUGES)}" if count else f"count(*) AS n, {gauges('sum', 10)}"
            yield both(name, f"SELECT {select} FROM T WHERE usage_user > 90.0 AND {what}"
                             f"{' ORDER BY time' if count else ''}")
    if single:
        yield both("lastpoint", f"SELECT hostname, measure_name, max(time) AS last, max_by({value}, time) AS v FROM T "
                                "GROUP BY hostname, measure_name ORDER BY 1, 2 LIMIT 1000")
    else:
        yield both("lastpoint", f"SELECT hostname, max(time) AS last, "
                                f"{', '.join(f'max_by({name}, time) AS {name}' for name in GAUGES)} FROM T "
                                "GROUP BY hostname ORDER BY 1 LIMIT 1000")
    yield both("groupby-orderby-limit", f"SELECT bin(time, 1m) AS minute, {gauges('max', 1)} FROM T WHERE "
                                        f"{measures(GAUGES[0])}time < TIMESTAMP '{window(1)[1]}' "
                                        "GROUP BY bin(time, 1m) ORDER BY 1 DESC LIMIT 5")
    yield both("full-scan", f"SELECT bin(time, 1h) AS hour, hostname, {gauge('avg', 'usage_user')}, "
                            f"{gauge('max', 'usage_idle')} FROM T "
                            f"{'WHERE ' + measures('usage_user', 'usage_idle')[:-5] if single else ''} "
                            "GROUP BY bin(time, 1h), hostname ORDER BY 1, 2 LIMIT 1000")


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
    parser.add_argument("--only", default="", help="queries with this in their names")
    parser.add_argument("--folder", default=None, help="where the data lies; /tmp may be memory")
    parser.add_argument("--keep", default=None, type=os.path.abspath,
                        help="a folder in which the data stays, and is found the next time")
    given = parser.parse_args()
    import duckdb
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        folder = pathlib.Path(given.keep or folder)
        folder.mkdir(exist_ok=True)
        loaded = (folder / "data").exists()
        tidemill = Tidemill(given.binary, folder)
        try:
            if not loaded:
                tidemill.call("CreateDatabase", {"DatabaseName": "bench"})
                tidemill.load(given.hosts, given.hours, given.single)
                tidemill.rest()
            measure(tidemill, duckdb, given)
        finally:
            tidemill.process.terminate()
            tidemill.process.wait(timeout=60)


def measure(tidemill, duckdb, given):
    parts = [str(part) for part in tidemill.parts()]
    bytes_all = sum(os.path.getsize(part) for part in parts)
    threads = len(os.sched_getaffinity(0))
    duckdb.sql(f"SET threads = {threads}")
    if given.cold:
        # What it has read it otherwise keeps, whatever the kernel forgets.
        duckdb.sql("SET enable_external_file_cache = false")
    table = "single" if given.single else "multi"
    print(f"{given.hosts} hosts x {given.hours} h, {table}: {len(parts)} parts, {bytes_all / 1e6:.0f} MB, {threads} "
          f"threads, {'cold' if given.cold else 'warm'}, best of {given.rounds}, ms")
    for name, sql, duck in queries(given.hosts, given.hours, given.single):
        if given.only not in name:
            continue
        ours_sql = sql.replace("FROM T", f"FROM bench.{table}")
        duck = duck.replace("FROM T", f"FROM read_parquet({parts})")
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
