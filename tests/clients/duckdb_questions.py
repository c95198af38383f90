"""Random questions that Tidemill and DuckDB understand alike, or that have a translation."""

# Every column has NULLs. `1e0` is a double for both, where DuckDB takes `1.0` for a decimal.
COLUMNS = "i, n, m, x, y, s, u, b, c, t1, t2, d1, d2"


def table(chance, rows):
    """Rows of the columns as a relation, all of the first one filled, so that every column has its type."""

    def maybe(value, first):
        return "NULL" if not first and chance.random() < 0.15 else value

    def row(i):
        first = i == 0
        values = [chance.randint(-50, 50), chance.randint(-9, 9), f"{chance.choice([-2.5, -0.5, 0.25, 1, 3, 7.75])}e0"]
        values += [f"{chance.randint(-400, 400) / 8}e0"]
        values += [f"'{chance.choice(['', 'a', 'B', 'abc', 'aXbX', ' pad ', 'banana', '50%', 'a_c'])}'" for _ in "su"]
        values += [chance.choice(["true", "false"]) for _ in "bc"]
        stamp = lambda: f"{chance.randint(1969, 2024)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        time = lambda: f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02}.{chance.randint(0, 999999):06}"
        values += [f"TIMESTAMP '{stamp()} {time()}'" for _ in "12"] + [f"DATE '{stamp()}'" for _ in "12"]
        return f"({i}, {', '.join(str(maybe(value, first)) for value in values)})"

    return f"(VALUES {', '.join(row(i) for i in range(rows))}) AS t({COLUMNS})"


class Questions:
    """Pairs of expressions, ours and DuckDB's, of a type and of some depth."""

    def __init__(self, chance):
        self.chance = chance

    def pick(self, kind, depth):
        leaves, branches = getattr(self, kind)(depth - 1)
        source = leaves if depth <= 0 else leaves + branches * 2
        choice = self.chance.choice(source)
        return choice() if callable(choice) else (choice, choice)

    def both(self, template, kinds, depth, other=None):
        operands = [self.pick(kind, depth) for kind in kinds]
        return (template.format(*(ours for ours, _ in operands)),
                (other or template).format(*(theirs for _, theirs in operands)))

    def of(self, depth, *forms):
        """Branches: a template, the kinds of its operands and, where it differs, DuckDB's template."""
        return [lambda form=form: self.both(form[0], form[1].split(), depth, *form[2:]) for form in forms]

    def number(self, depth):
        return ["n", "m", "7", "-3", "0"], self.of(
            depth,
            ("({} + {})", "number number"), ("({} - {})", "number number"), ("({} * 3)", "number"), ("(- {})", "number"),
            ("({} % 7)", "number"), ("({} / 4)", "number", "({} // 4)"), ("abs({})", "number"), ("sign({})", "number"),
            ("({} / nullif({}, 0))", "number number", "({} // nullif({}, 0))"), ("nullif({}, {})", "number number"),
            ("coalesce({}, {})", "number number"), ("IF({}, {}, {})", "truth number number", "CASE WHEN {} THEN {} ELSE {} END"),
            ("CASE WHEN {} THEN {} ELSE {} END", "truth number number"), ("CASE {} WHEN 7 THEN 1 WHEN {} THEN 2 END", "number number"),
            ("greatest(coalesce({}, 1), 2)", "number"), ("least(coalesce({}, 1), 2)", "number"), ("length({})", "text"),
            ("strpos({}, {})", "text text"), ("year({})", "moment"), ("month({})", "date"), ("day({})", "date"), ("hour({})", "moment"),
            ("minute({})", "moment"), ("second({})", "moment"), ("quarter({})", "date"), ("week({})", "date"), ("year_of_week({})", "date", "isoyear({})"),
            ("day_of_year({})", "date", "dayofyear({})"), ("day_of_week({})", "date", "isodow({})"), ("extract(MONTH FROM {})", "moment"),
            ("date_diff('day', {}, {})", "moment moment", "datesub('day', {}, {})"),
            ("date_diff('hour', {}, {})", "moment moment", "datesub('hour', {}, {})"),
            ("date_diff('second', {}, {})", "moment moment", "datesub('second', {}, {})"),
            ("date_diff('day', {}, {})", "date date", "datesub('day', {}, {})"),
            ("levenshtein_distance({}, 'abc')", "text", "levenshtein({}, 'abc')"),
            ("(bitwise_and({}, 12))", "number", "({} & 12)"), ("bitwise_xor({}, 5)", "number", "xor({}, 5)"),
        )

    def double(self, depth):
        return ["x", "y", "2.5e0", "-0.125e0"], self.of(
            depth,
            ("({} + {})", "double double"), ("({} - {})", "double double"), ("({} * {})", "double double"), ("({} / 4e0)", "double"),
            ("({} + {})", "double number"), ("({} * {})", "number double"), ("abs({})", "double"), ("floor({})", "double"), ("ceil({})", "double"),
            ("round({})", "double"), ("round({}, 2)", "double"), ("sqrt(abs({}))", "double"), ("cbrt({})", "double"), ("exp({} / 1e2)", "double"),
            ("ln(abs({}) + 1)", "double"), ("log10(abs({}) + 1)", "double"), ("log2(abs({}) + 1)", "double"), ("power(abs({}), 0.5e0)", "double"),
            ("sin({})", "double"), ("cos({})", "double"), ("tan({} / 1e2)", "double"), ("atan({})", "double"), ("atan2({}, {})", "double double"),
            ("degrees({})", "double"), ("radians({})", "double"), ("coalesce({}, {})", "double double"), ("nullif({}, {})", "double double"),
            ("truncate({})", "double", "trunc({})"), ("CAST({} AS DOUBLE)", "number"), ("to_unixtime({})", "moment", "epoch({})"),
            ("greatest(coalesce({}, 1e0), 0.5e0)", "double"),
        )

    def text(self, depth):
        return ["s", "u", "'an'", "''", "'Ab'"], self.of(
            depth,
            ("({} || {})", "text text"), ("upper({})", "text"), ("lower({})", "text"), ("reverse({})", "text"), ("trim({})", "text"),
            ("ltrim({})", "text"), ("rtrim({})", "text"), ("substr({}, 2)", "text"), ("substr({}, 1, 2)", "text"), ("replace({}, 'X', '-')", "text"),
            ("replace({}, 'an')", "text", "replace({}, 'an', '')"), ("lpad({}, 4, 'xy')", "text"), ("rpad({}, 4, 'xy')", "text"),
            ("coalesce({}, {})", "text text"), ("nullif({}, {})", "text text"), ("CAST({} AS VARCHAR)", "number"), ("CAST({} AS VARCHAR)", "truth"),
            ("CAST({} AS VARCHAR)", "date"), ("regexp_replace({}, '[aX]', '_')", "text", "regexp_replace({}, '[aX]', '_', 'g')"),
            ("translate({}, 'ab', 'xy')", "text"), ("CASE WHEN {} THEN {} ELSE {} END", "truth text text"), ("concat('<', {})", "text", "('<' || {})"),
            ("date_format({}, '%Y-%m-%d %H:%i:%s')", "moment", "strftime({}, '%Y-%m-%d %H:%M:%S')"),
        )

    def truth(self, depth):
        return ["b", "c", "true", "false", "CAST(NULL AS BOOLEAN)"], self.of(
            depth,
            ("({} AND {})", "truth truth"), ("({} OR {})", "truth truth"), ("(NOT {})", "truth"), ("({} = {})", "number number"),
            ("({} < {})", "double double"), ("({} >= {})", "number double"), ("({} <> {})", "text text"), ("({} < {})", "text text"),
            ("({} <= {})", "moment moment"), ("({} > {})", "date date"), ("({} = {})", "truth truth"), ("({} IS NULL)", "number"),
            ("({} IS NOT NULL)", "text"), ("({} BETWEEN {} AND {})", "number number number"), ("({} NOT BETWEEN {} AND {})", "double double double"),
            ("({} IN (1, {}, 3))", "number number"), ("({} NOT IN (1, {}, 3))", "number number"), ("({} IN ('a', {}))", "text text"),
            ("({} LIKE 'a%')", "text"), ("({} NOT LIKE '%b_')", "text"), ("({} LIKE '%$%%' ESCAPE '$')", "text"),
            ("({} IS DISTINCT FROM {})", "number number"), ("({} IS NOT DISTINCT FROM {})", "text text"),
            ("regexp_like({}, '^[a-b]')", "text", "regexp_matches({}, '^[a-b]')"), ("starts_with({}, {})", "text text"),
            ("({} = ANY (VALUES 1, 2, 3))", "number", "({} IN (1, 2, 3))"), ("({} > ALL (VALUES 1, 2))", "number", "({} > 2)"),
            ("({} > {})", "moment date", "({} > CAST({} AS TIMESTAMP))"),
        )

    def moment(self, depth):
        return ["t1", "t2", "TIMESTAMP '2020-02-29 12:34:56.789'"], self.of(
            depth,
            *((f"date_trunc('{unit}', {{}})", "moment") for unit in ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]),
            ("({} + INTERVAL '1' DAY)", "moment"), ("({} - INTERVAL '3' HOUR)", "moment"), ("({} + INTERVAL '1' MONTH)", "moment"),
            ("({} - INTERVAL '1' YEAR)", "moment"), ("({} + 90s)", "moment", "({} + INTERVAL '90' SECOND)"), ("coalesce({}, {})", "moment moment"),
            ("date_add('month', 1, {})", "moment", "({} + INTERVAL 1 MONTH)"), ("CAST({} AS TIMESTAMP)", "date"),
            ("bin({}, 5m)", "moment", "time_bucket(INTERVAL '5 minutes', {}, TIMESTAMP '1970-01-01')"),
            ("bin({}, 1d)", "moment", "time_bucket(INTERVAL '1 day', {}, TIMESTAMP '1970-01-01')"),
        )

    def date(self, depth):
        return ["d1", "d2", "DATE '2020-02-29'"], self.of(
            depth,
            ("({} + 3d)", "date", "CAST({} + INTERVAL 3 DAY AS DATE)"), ("({} - INTERVAL '1' MONTH)", "date", "CAST({} - INTERVAL 1 MONTH AS DATE)"),
            ("CAST({} AS DATE)", "moment"), ("date({})", "moment", "CAST({} AS DATE)"), ("last_day_of_month({})", "date", "last_day({})"),
            ("coalesce({}, {})", "date date"), ("greatest(coalesce({}, DATE '1990-01-01'), DATE '2000-01-01')", "date"), ("date_trunc('month', {})", "date", "CAST(date_trunc('month', {}) AS DATE)"),
        )


AGGREGATES = [
    "count(*)", "count({n})", "count({s})", "count(DISTINCT {n})", "count(DISTINCT {s})", "sum({n})", "sum(DISTINCT {n})", "avg({n})", "avg({x})",
    "min({x})", "max({n})", "min({s})", "max({s})", "min({t})", "max({t})", "min({d})", "bool_and({b})", "bool_or({b})", "stddev({x})",
    "stddev_pop({x})", "variance({x})", "var_pop({x})", "sum({n}) FILTER (WHERE {b})", "count(*) FILTER (WHERE {x} > 0)",
    ("count_if({b})", "count(*) FILTER (WHERE {b})"), ("max_by(i, ({n}) * 1000 + i)", "arg_max(i, ({n}) * 1000 + i)"),
    ("min_by(i, ({n}) * 1000 + i)", "arg_min(i, ({n}) * 1000 + i)"), ("bitwise_and_agg({n})", "bit_and({n})"), ("bitwise_or_agg({n})", "bit_or({n})"),
    ("array_join(array_agg({n} ORDER BY i), ',', '-')", "array_to_string(list_transform(list({n} ORDER BY i), lambda v: coalesce(v::VARCHAR, '-')), ',')"),
    "corr({x}, {n})", "covar_pop({x}, {n})", "covar_samp({x}, {n})", "regr_slope({x}, {n})", "regr_intercept({x}, {n})",
    ("geometric_mean(abs({x}) + 1)", "exp(avg(ln(abs({x}) + 1)))"), ("every({b})", "bool_and({b})"), ("kurtosis({x})", "kurtosis({x})"),
]

WINDOWS = [
    "row_number()", "rank()", "dense_rank()", "percent_rank()", "cume_dist()", "ntile(3)", "lag(n)", "lead(n)", "lag(n, 2)", "lead(s, 2, 'none')", "lag(n, 1, -1)",
    "lag(n, 0)", ("lag(n) IGNORE NULLS", "lag(n IGNORE NULLS)"), ("lead(n) IGNORE NULLS", "lead(n IGNORE NULLS)"),
]

FRAMED = [
    "first_value(n)", "last_value(n)", "nth_value(n, 2)", "sum(n)", "avg(x)", "min(s)", "max(t1)", "count(n)", "count(*)", "bool_and(b)",
    ("first_value(n) IGNORE NULLS", "first_value(n IGNORE NULLS)"), ("last_value(n) IGNORE NULLS", "last_value(n IGNORE NULLS)"),
    ("count_if(b)", "count(*) FILTER (WHERE b)"),
]

FRAMES = [
    "", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", "ROWS 1 PRECEDING", "ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING", "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    "ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING", "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "RANGE BETWEEN 2 PRECEDING AND 3 FOLLOWING", "RANGE 5 PRECEDING", "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
]

SETS_OF_BOTH = ["b", "c", "grouping(b, c)"]
GROUPINGS = [
    ("b", ["b"]), ("b, c", ["b", "c"]), ("ROLLUP (b, c)", SETS_OF_BOTH), ("CUBE (b, c)", SETS_OF_BOTH),
    ("GROUPING SETS ((b), (c), ())", SETS_OF_BOTH), ("b, ROLLUP (c)", SETS_OF_BOTH),
]

JOINS = [
    "JOIN {r} ON l.n = r.n", "LEFT JOIN {r} ON l.n = r.n", "RIGHT JOIN {r} ON l.n = r.n", "FULL JOIN {r} ON l.n = r.n", "FULL JOIN {r} ON l.n = r.n AND l.b = r.b",
    "LEFT JOIN {r} ON l.n < r.n AND l.b", "CROSS JOIN {r}", "JOIN {r} ON l.n IS NOT DISTINCT FROM r.n", "LEFT JOIN {r} ON l.s = r.s AND l.x < r.x", "JOIN {r} ON l.m = r.m OR l.n = r.n",
]

USINGS = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
SETS = ["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]
SUBQUERIES = [
    "n IN (SELECT m FROM {r})", "n NOT IN (SELECT m FROM {r} WHERE m IS NOT NULL)", "n NOT IN (SELECT m FROM {r})", "EXISTS (SELECT 1 FROM {r} WHERE r.n = l.m)",
    "NOT EXISTS (SELECT 1 FROM {r} WHERE r.n = l.m AND r.x > l.x)", "n > (SELECT avg(m) FROM {r})", "n = (SELECT max(r.n) FROM {r} WHERE r.b = l.b)",
    "n > ALL (SELECT m FROM {r} WHERE m < 3)", "n <= ANY (SELECT m FROM {r})", "n <> ALL (SELECT m FROM {r})", "(SELECT count(*) FROM {r} WHERE r.m = l.m) > 1",
]
