"""The same questions to Tidemill and to DuckDB, where the two languages mean the same."""

import datetime
import math
import random

import duckdb
import duckdb_questions as questions
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
        ours, theirs = float(ours), float(theirs)
        same = ours == theirs or math.isnan(ours) and math.isnan(theirs)
        return same or math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(theirs, (datetime.datetime, datetime.date)):
        # Adding an interval makes DuckDB's date a timestamp.
        return str(theirs)[:len(ours)] == ours[:len(str(theirs))]
    return ours == str(theirs)


class Disagreements:
    """Asks both and keeps what they do not agree on."""

    def __init__(self, daemon):
        self.client = daemon.client("timestream-query")
        self.found = []

    def ask(self, ours, theirs=None):
        """Whether both give the same rows in the same order."""
        try:
            rows = self.client.query(QueryString=ours)["Rows"]
            mine = [[value(datum) for datum in row["Data"]] for row in rows]
        except self.client.exceptions.ClientError as error:
            mine = [[str(error)]]
        other = duckdb.sql(theirs or ours).fetchall()
        same = len(mine) == len(other) and all(
            len(x) == len(y) and all(agree(a, b) for a, b in zip(x, y)) for x, y in zip(mine, other)
        )
        if not same:
            self.found.append((ours, theirs, mine, other))
        return same


@pytest.fixture
def both(daemon):
    both = Disagreements(daemon)
    yield both
    if both.found:
        ours, theirs, mine, other = min(both.found, key=lambda found: len(found[0]))
        pytest.fail(f"{len(both.found)} disagree, for example\n{ours}\n{theirs}\n{mine}\n{other}", pytrace=False)


def numbered(seed):
    chance = random.Random(seed)
    return chance, questions.table(chance, 24)


def test_scalars(both):
    for ours, theirs in map(pair, SCALARS):
        both.ask(f"SELECT {ours}", f"SELECT {theirs}")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["number", "double", "text", "truth", "moment", "date"])
def test_expressions(both, seed, kind):
    chance, table = numbered(seed)
    asked = questions.Questions(chance)
    pairs = [asked.pick(kind, chance.randint(1, 3)) for _ in range(25)]
    query = "SELECT {} FROM {} ORDER BY i".format
    together = [", ".join(side) for side in zip(*pairs)]
    if not both.ask(query(together[0], table), query(together[1], table)):
        both.found.pop()
        for ours, theirs in pairs:
            both.ask(query(ours, table), query(theirs, table))


@pytest.mark.parametrize("seed", range(4))
def test_conditions_and_groups(both, seed):
    chance, table = numbered(seed)
    asked = questions.Questions(chance)
    for _ in range(8):
        ours, theirs = asked.pick("truth", 3)
        query = "SELECT i FROM {} WHERE {} ORDER BY i".format
        both.ask(query(table, ours), query(table, theirs))
        keys = [asked.pick(kind, 1) for kind in ("truth", "text")]
        select = "SELECT {0}, {1}, count(*), sum(i) FROM {2} GROUP BY {0}, {1} ORDER BY 1 NULLS LAST, 2 NULLS LAST".format
        both.ask(*(select(keys[0][side], keys[1][side], table) for side in (0, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_aggregates(both, seed):
    chance, table = numbered(seed)
    for ours, theirs in map(pair, questions.AGGREGATES):
        operands = dict(n="n", x="x", s="s", b="b", t="t1", d="d1")
        ours, theirs = ours.format(**operands), theirs.format(**operands)
        both.ask(f"SELECT {ours} FROM {table}", f"SELECT {theirs} FROM {table}")
        both.ask(f"SELECT {ours} FROM {table} WHERE i < 0", f"SELECT {theirs} FROM {table} WHERE i < 0")
        group, keys = chance.choice(questions.GROUPINGS)
        order = ", ".join(f"{i + 1} NULLS LAST" for i in range(len(keys)))
        select = f"SELECT {', '.join(keys)}, {{}} FROM {table} GROUP BY {group} ORDER BY {order}"
        both.ask(select.format(ours), select.format(theirs))


@pytest.mark.parametrize("seed", range(3))
def test_windows(both, seed):
    _, table = numbered(seed)
    order = "OVER (PARTITION BY c ORDER BY m NULLS LAST, i)"
    for ours, theirs in map(pair, questions.WINDOWS):
        both.ask(f"SELECT i, {ours} {order} FROM {table} ORDER BY i", f"SELECT i, {theirs} {order} FROM {table} ORDER BY i")
    for ours, theirs in map(pair, questions.FRAMED):
        for frame in questions.FRAMES:
            # A distance needs one key, and which of several rows of one key is first nobody says.
            one = any(word in frame for word in ("RANGE BETWEEN 2", "RANGE 5")) or "GROUPS" in frame
            if one and ("first" in ours or "last" in ours or "nth" in ours):
                continue
            over = f"OVER (PARTITION BY c ORDER BY {'m' if one else 'm NULLS LAST, i'} {frame})"
            where = "WHERE m IS NOT NULL" if one else ""
            select = f"SELECT i, {{}} {over} FROM {table} {where} ORDER BY i"
            both.ask(select.format(ours), select.format(theirs))


@pytest.mark.parametrize("seed", range(3))
def test_relations(both, seed):
    chance, left = numbered(seed)
    left = left.replace("AS t(", "AS l(")
    right = questions.table(chance, 9).replace("AS t(", "AS r(")
    for join in questions.JOINS:
        both.ask(
            f"SELECT l.i, r.i, l.n, r.x FROM {left} {join.format(r=right)} ORDER BY 1 NULLS LAST, 2 NULLS LAST"
        )
    for join in questions.USINGS:
        columns = "n, l.i, r.i, l.x, r.x"
        both.ask(f"SELECT {columns} FROM {left} {join} {right} USING (n) ORDER BY 1 NULLS LAST, 2 NULLS LAST, 3 NULLS LAST")
        both.ask(f"SELECT n, b, count(*), count(l.i), count(r.i) FROM {left} {join} {right} USING (n, b) "
                 "GROUP BY n, b ORDER BY 1 NULLS LAST, 2 NULLS LAST")
    for sets in questions.SETS:
        for columns in ("n", "b, c", "s"):
            keys = ", ".join(f"{i + 1} NULLS LAST" for i in range(columns.count(",") + 1))
            both.ask(f"SELECT {columns} FROM {left} {sets} SELECT {columns} FROM {right} ORDER BY {keys}")
    for condition in questions.SUBQUERIES:
        condition = condition.format(r=right)
        both.ask(f"SELECT l.i FROM {left} WHERE {condition} ORDER BY 1")
        both.ask(f"SELECT l.i FROM {left} WHERE NOT ({condition}) ORDER BY 1")
        both.ask(f"SELECT l.i, {condition} FROM {left} ORDER BY 1")
