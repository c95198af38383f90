"""The same questions to Tidemill and to DuckDB, where the two languages mean the same."""

import datetime
import math
import random

import duckdb
import pytest

# Written so that both understand them; a pair where they need other words.
SCALARS = [
    "1 + 2 * 3", "7 % 3", "-7 % 3", "2.5 * 4", "1.0 / 3", "abs(-5)", "sqrt(2.0)", "cbrt(27.0)", "exp(1.0)",
    "ln(10.0)", "log10(1000.0)", "log2(8.0)", "power(2.0, 10.0)", "ceil(1.2)", "floor(-1.2)", "round(2.5)",
    "round(1234.567, 2)", "sign(-3)", "degrees(3.0)", "radians(90.0)", "sin(1.0)", "cos(1.0)", "tan(1.0)",
    "atan2(1.0, 2.0)", "greatest(1, 3, 2)", "least(2, 1)", "coalesce(NULL, 5)", "nullif(1, 1)", "nullif(1, 2)",
    "length('größe')", "upper('abc')", "lower('ABC')", "reverse('abc')", "replace('aXbX', 'X', '-')",
    "lpad('a', 3, 'xy')", "rpad('abc', 2, 'x')", "trim('  a ')", "substr('hello', 2, 3)", "'a' || 'b'",
    "starts_with('abc', 'ab')", "chr(65)", "translate('abc', 'ab', 'xy')", "concat('a', 'b')",
    "'abc' LIKE 'a%'", "'abc' LIKE '_b_'", "1 BETWEEN 0 AND 2", "NULL IS NULL", "1 IS DISTINCT FROM NULL",
    "3 IN (1, 2)", "3 IN (1, NULL)", "CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END", "true AND NULL", "false OR NULL",
    "year(TIMESTAMP '2022-06-17 10:15:20')", "month(DATE '2022-06-17')", "day(DATE '2022-06-17')",
    "hour(TIMESTAMP '2022-06-17 10:15:20')", "quarter(DATE '2022-06-17')", "week(DATE '2021-01-03')",
    "date_trunc('hour', TIMESTAMP '2022-06-17 10:15:20')", "date_trunc('month', TIMESTAMP '2022-06-17 10:15:20')",
    "extract(minute FROM TIMESTAMP '2022-06-17 10:15:20')", "DATE '2022-01-31' + INTERVAL '1' DAY",
    "TIMESTAMP '2022-01-31 10:00:00' + INTERVAL '1' MONTH", "CAST('12' AS BIGINT)", "CAST(1.5 AS VARCHAR)",
    ("bin(TIMESTAMP '2022-06-17 10:15:20', 5m)",
     "time_bucket(INTERVAL '5 minutes', TIMESTAMP '2022-06-17 10:15:20')"),
    ("date_diff('day', DATE '2020-03-01', DATE '2020-03-05')",
     "datediff('day', DATE '2020-03-01', DATE '2020-03-05')"),
    ("day_of_week(DATE '2022-06-19')", "isodow(DATE '2022-06-19')"),
    ("levenshtein_distance('kitten', 'sitting')", "levenshtein('kitten', 'sitting')"),
    ("regexp_like('abc', 'b.')", "regexp_matches('abc', 'b.')"),
    ("regexp_extract('a12', '([a-z])(\\d+)', 2)", "regexp_extract('a12', '([a-z])(\\d+)', 2)"),
]

AGGREGATES = [
    "count(*)", "count(x)", "count(DISTINCT g)", "sum(n)", "avg(x)", "min(x)", "max(n)", "stddev(x)", "stddev_pop(x)",
    "variance(x)", "var_pop(x)", "corr(x, n)", "covar_pop(x, n)", "covar_samp(x, n)", "regr_slope(x, n)",
    "regr_intercept(x, n)", "bool_and(x > 0)", "bool_or(n > 5)", "skewness(x)",
    ("max_by(n, x)", "arg_max(n, x)"), ("min_by(n, x)", "arg_min(n, x)"), ("geometric_mean(abs(x) + 1)", "exp(avg(ln(abs(x) + 1)))"),
    "sum(x) FILTER (WHERE n > 3)",
]
# DuckDB corrects skewness for the size of the sample, Trino does not.
AGGREGATES.remove("skewness(x)")


def pair(question):
    return question if isinstance(question, tuple) else (question, question)


def value(datum):
    return None if datum.get("NullValue") else datum["ScalarValue"]


def agree(ours, theirs):
    if theirs is None or ours is None:
        return ours is theirs
    if isinstance(theirs, bool):
        return ours == str(theirs).lower()
    if isinstance(theirs, (int, float)) or hasattr(theirs, "as_tuple"):
        return math.isclose(float(ours), float(theirs), rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(theirs, (datetime.datetime, datetime.date)):
        # Adding an interval makes DuckDB's date a timestamp.
        return str(theirs)[:len(ours)] == ours[:len(str(theirs))]
    return ours == str(theirs)


@pytest.mark.parametrize("seed", [1, 2])
def test_duckdb_agrees(daemon, seed):
    query = daemon.client("timestream-query")
    differ = []

    def ask(ours, theirs):
        mine = [[value(datum) for datum in row["Data"]] for row in query.query(QueryString=ours)["Rows"]]
        other = duckdb.sql(theirs).fetchall()
        if len(mine) != len(other) or not all(agree(a, b) for x, y in zip(mine, other) for a, b in zip(x, y)):
            differ.append((ours, mine, other))

    for ours, theirs in map(pair, SCALARS if seed == 1 else []):
        ask(f"SELECT {ours}", f"SELECT {theirs}")
    chance = random.Random(seed)
    rows = ", ".join(
        f"('{chance.choice('abc')}', {chance.choice([-1.5, 0.25, 3.0, 2.0])}, {chance.randrange(9)})" for _ in range(40)
    )
    table = f"(VALUES {rows}, ('c', CAST(NULL AS DOUBLE), 1)) AS t(g, x, n)"
    for ours, theirs in map(pair, AGGREGATES):
        ask(f"SELECT {ours} FROM {table}", f"SELECT {theirs} FROM {table}")
        by_group = "SELECT g, {} FROM {} GROUP BY g ORDER BY g"
        ask(by_group.format(ours, table), by_group.format(theirs, table))
    for frame in ["", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"]:
        window = f"SELECT g, n, sum(n) OVER (PARTITION BY g ORDER BY n {frame}) FROM {table} ORDER BY 1, 2, 3"
        ask(window, window)
    assert not differ, differ
