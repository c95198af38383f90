//! Queries nobody thought of, and answers that must agree.
//!
//! Random conditions over our dialect, times and intervals included, are asked three ways:
//!
//! - *partitions* (ternary-logic partitioning): the rows where a condition is true, where it is false and
//!   where it is NULL are together all rows;
//! - *no optimisation* (NoREC): as many rows pass `WHERE p` as `count_if(p)` counts, which no optimiser
//!   turns into a filter, an index look-up or a skipped row group;
//! - *parts*: rows in memory and the same rows in parts give the same answer.
//!
//! `TIDEMILL_RANDOM=seed:cases` runs others; a failure prints the seed of its case.

use std::fmt::Write;

use super::fixture::TestSource;
use super::{all_pages, engine, outcome};
use crate::query::{Engine, QueryOptions};

/// A repeatable sequence of numbers (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("a small number")
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const HEADER: &str = "host dimension | region dimension | measure_name | time | a double | b bigint | \
                      c boolean | d varchar | t timestamp";

/// The same random rows twice: `r.memory`, and `r.parts` in two parts, one row of them superseded, and in memory.
fn tables(chance: &mut Chance) -> String {
    let row = |chance: &mut Chance| {
        let nullable = |chance: &mut Chance, of: &[&'static str]| match chance.below(5) {
            0 => "NULL",
            _ => chance.pick(of),
        };
        format!(
            "{} | {} | {} | 2021-11-{} {:02}:{:02}:{:02} | {} | {} | {} | {} | {}",
            chance.pick(&["h1", "h2", "h3", "a_b"]),
            nullable(chance, &["eu", "us", "x%"]),
            chance.pick(&["cpu", "mem"]),
            chance.pick(&["14", "15", "16"]),
            chance.below(24),
            chance.below(60),
            chance.below(60),
            nullable(chance, &["0", "-1.5", "2.25", "10000000000", "0.1"]),
            nullable(chance, &["0", "1", "-3", "7", "100"]),
            nullable(chance, &["true", "false"]),
            nullable(chance, &["x", "Xy", "h1", "%"]),
            nullable(chance, &["2021-11-14 12:00:00", "2021-11-15 00:00:00", "2021-11-16 23:59:59.5"]),
        )
    };
    let (mut memory, mut parts) = (String::new(), String::new());
    for part in 0..3 {
        let rows: Vec<String> = (0..8 + chance.below(8)).map(|_| row(chance)).collect();
        for row in &rows {
            let _ = write!(memory, "\n{row}");
            let _ = write!(parts, "\n{row}");
        }
        match part {
            0 => parts.push_str("\nflush"),
            // A row that a newer version replaced: only its part still has it.
            1 => drop(write!(parts, "\n{}\nflush\nsuperseded {}", row(chance), rows.len())),
            _ => {}
        }
    }
    format!("table r.memory\n{HEADER}{memory}\n\ntable r.parts\n{HEADER}{parts}")
}

/// A condition of some depth.
fn condition(chance: &mut Chance, depth: usize) -> String {
    let op = |chance: &mut Chance| chance.pick(&["=", "<>", "<", "<=", ">", ">="]).to_owned();
    if depth > 0 && chance.below(2) == 0 {
        let (left, right) = (condition(chance, depth - 1), condition(chance, depth - 1));
        return match chance.below(5) {
            0 => format!("NOT ({left})"),
            1 => format!("({left} OR {right})"),
            2 => format!("IF({left}, {right})"),
            3 => format!("(({left}) = ({right}))"),
            _ => format!("({left} AND {right})"),
        };
    }
    match chance.below(16) {
        14 => format!("measure_name = {}", chance.pick(&["'cpu'", "'mem'", "'disk'"])),
        15 => format!("{} IN ('h1', 'h3', 'cpu', 'eu')", chance.pick(&["host", "region", "measure_name"])),
        0 => format!("{} {} {}", moment(chance, 1), op(chance), moment(chance, 1)),
        1 => format!("time {} {}", op(chance), chance.pick(MOMENTS)),
        2 => format!("time BETWEEN {} AND {}", chance.pick(MOMENTS), moment(chance, 1)),
        3 => format!("bin(time, {}) {} {}", chance.pick(LENGTHS), op(chance), chance.pick(MOMENTS)),
        4 => format!("{} {} {}", number(chance, 2), op(chance), number(chance, 2)),
        5 => format!("{} NOT BETWEEN {} AND {}", number(chance, 1), number(chance, 1), number(chance, 1)),
        6 => format!("{} {} {}", text(chance, 1), op(chance), text(chance, 1)),
        7 => format!("{} IN ('h1', {}, 'eu')", text(chance, 1), text(chance, 0)),
        8 => format!("{} LIKE {}", text(chance, 1), chance.pick(&["'h%'", "'_'", "'%x%'", "d"])),
        9 => format!("{} IS {}NULL", any(chance), chance.pick(&["", "NOT "])),
        10 => format!("(time - t) {} {}", op(chance), chance.pick(LENGTHS)),
        11 => format!("cast(time AS date) {} DATE '2021-11-15'", op(chance)),
        12 => format!("{} IS DISTINCT FROM {}", number(chance, 1), number(chance, 1)),
        _ => chance.pick(&["c", "NOT c", "regexp_like(host, '^h[12]')", "host = region", "true"]).to_owned(),
    }
}

const MOMENTS: &[&str] = &[
    "TIMESTAMP '2021-11-15 06:00:00'",
    "'2021-11-16'",
    "ago(36h)",
    "now() - 1d",
    "t",
    "date_trunc('day', ago(1d))",
    "from_milliseconds(1636934400000)",
];

const LENGTHS: &[&str] = &["1h", "6h", "1d", "7m", "INTERVAL '90' MINUTE", "12h + 30m"];

fn any(chance: &mut Chance) -> String {
    match chance.below(3) {
        0 => number(chance, 1),
        1 => text(chance, 1),
        _ => moment(chance, 1),
    }
}

fn moment(chance: &mut Chance, depth: usize) -> String {
    let inner = if depth == 0 { chance.pick(&["time", "t"]).to_owned() } else { moment(chance, depth - 1) };
    match chance.below(6) {
        0 => format!("bin({inner}, {})", chance.pick(LENGTHS)),
        1 => format!("({inner} + {})", chance.pick(LENGTHS)),
        2 => format!("date_trunc('{}', {inner})", chance.pick(&["hour", "day", "month"])),
        3 => format!("date_add('hour', {}, {inner})", chance.below(30)),
        4 => format!("coalesce({inner}, TIMESTAMP '2021-11-15 00:00:00')"),
        _ => inner,
    }
}

fn number(chance: &mut Chance, depth: usize) -> String {
    if depth == 0 {
        return chance.pick(&["a", "b", "0", "1.5", "-3", "length(host)", "hour(time)"]).to_owned();
    }
    let (left, right) = (number(chance, depth - 1), number(chance, depth - 1));
    match chance.below(7) {
        0 => format!("({left} + {right})"),
        1 => format!("({left} - {right})"),
        2 => format!("abs({left})"),
        3 => format!("coalesce({left}, {right})"),
        4 => format!("round({left} * 0.5)"),
        5 => format!("CASE WHEN c THEN {left} WHEN a > 1 THEN {right} END"),
        _ => left,
    }
}

fn text(chance: &mut Chance, depth: usize) -> String {
    if depth == 0 {
        return chance.pick(&["host", "region", "d", "measure_name", "'h1'", "'x'", "NULL"]).to_owned();
    }
    let inner = text(chance, depth - 1);
    match chance.below(5) {
        0 => format!("upper({inner})"),
        1 => format!("substr({inner}, 1, 2)"),
        2 => format!("({inner} || 'x')"),
        3 => format!("nullif({inner}, 'x')"),
        _ => inner,
    }
}

/// The sorted rows of an answer: no query made here has a reason to fail.
async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    let text = outcome(&all_pages(engine, sql).await, true);
    assert!(!text.contains(" error: "), "{sql}\n{text}");
    text.lines().skip(1).map(str::to_owned).collect()
}

async fn ask_three_ways(engine: &Engine, p: &str) -> Result<(), String> {
    let columns = "host, region, time, a, b, d";
    let group = "region, bin(time, 6h)";
    for table in ["r.memory", "r.parts"] {
        let all = rows(engine, &format!("SELECT {columns} FROM {table}")).await;
        let mut parted = Vec::new();
        for part in [p.to_owned(), format!("NOT ({p})"), format!("({p}) IS NULL")] {
            parted.extend(rows(engine, &format!("SELECT {columns} FROM {table} WHERE {part}")).await);
        }
        parted.sort();
        if parted != all {
            return Err(format!(
                "the partitions of {table} are not the whole: {} of {}",
                parted.len(),
                all.len()
            ));
        }
        let passed = rows(engine, &format!("SELECT count(*) FROM {table} WHERE {p}")).await;
        let counted = rows(engine, &format!("SELECT count_if({p}) FROM {table}")).await;
        if passed != counted {
            return Err(format!("{passed:?} rows pass in {table}, but it holds for {counted:?}"));
        }
    }
    for shape in [
        format!("SELECT {group}, count(*), sum(b), max(time), min(a) FROM TABLE WHERE {p} GROUP BY {group}"),
        "SELECT x.host, y.time FROM TABLE x JOIN TABLE y ON x.host = y.host AND x.b = y.b WHERE x.time > \
         '2021-11-15' AND y.c"
            .to_owned(),
        format!("SELECT time FROM TABLE WHERE {p} ORDER BY time DESC LIMIT 3"),
    ] {
        let memory = rows(engine, &shape.replace("TABLE", "r.memory")).await;
        let parts = rows(engine, &shape.replace("TABLE", "r.parts")).await;
        if memory != parts {
            return Err(format!("{shape}\nmemory: {memory:?}\nparts:  {parts:?}"));
        }
    }
    Ok(())
}

/// How many cases, from which seed.
fn wanted() -> (u64, usize) {
    let given = std::env::var("TIDEMILL_RANDOM").ok();
    let parsed = given.as_deref().and_then(|given| given.split_once(':'));
    parsed.map_or((20_211_115, 24), |(seed, cases)| {
        (seed.parse().expect("a seed"), cases.parse().expect("a number of cases"))
    })
}

#[tokio::test]
async fn random_conditions_have_one_answer() {
    let (seed, cases) = wanted();
    let mut wrong = Vec::new();
    for case in 0..cases {
        let seed = seed.wrapping_add(case as u64);
        let mut chance = Chance(seed);
        let mut source = TestSource::default();
        let rows = tables(&mut chance);
        source.read_block("now 2021-11-16 12:00:00").await;
        for table in rows.split("\n\n") {
            source.read_block(table).await;
        }
        // Every other time few rows are read as many are.
        let rows_alone = case % 2 * 100_000;
        let engine = engine(source, QueryOptions { rows_alone, ..QueryOptions::default() });
        for _ in 0..3 {
            let p = condition(&mut chance, 2);
            if let Err(what) = ask_three_ways(&engine, &p).await {
                wrong.push(format!("TIDEMILL_RANDOM={seed}:1\n{p}\n{what}"));
            }
        }
        engine.shutdown().await;
    }
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n\n"));
}
