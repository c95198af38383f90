//! Statements and payloads out of a seed: always the same ones, so that a failure can be repeated.

/// A small generator of reproducible noise (xorshift).
pub(super) struct Noise(u64);

impl Noise {
    /// Noise that starts at `seed`.
    pub(super) const fn new(seed: u64) -> Self {
        // Zero would stay zero for ever.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, of 31 bits.
    pub(super) fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits")
    }

    /// One of `choices`.
    pub(super) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.next() % choices.len()]
    }
}

/// How many cases a test runs: `few`, or what TIDEMILL_CASES says.
pub(super) fn cases(few: usize) -> usize {
    std::env::var("TIDEMILL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Names that payloads have and statements ask for.
const NAMES: &[&str] = &["a", "b", "c", "l", "o", "x", "value", "date"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2.50",
    "10.0",
    "-0.0",
    "1E3",
    "1E-999",
    "9.9E999",
    "0.1",
    "9999999999999999999999999999999999",
    "-9999999999999999999999999999999999",
    "123456789012345678901234567890.5",
];
const TEXTS: &[&str] = &[
    "",
    "x",
    "7",
    "-2.5",
    "true",
    "False",
    "1E999",
    "é€😀",
    "a/b",
    "[1,2]",
    "zm9v",
    "eyJhIjoxfQ==",
    "base64",
    "enrichArray",
    "(x|7)+$",
    "(?<=x)7|x+",
    "$1",
    "yyyy-MM-dd[ HH]",
    "0007-02-05",
    "Asia/Tokyo",
];
const FUNCTIONS: &[(&str, usize)] = &[
    ("abs", 1),
    ("accountid", 0),
    ("acos", 1),
    ("asin", 1),
    ("atan", 1),
    ("atan2", 2),
    ("bitand", 2),
    ("bitnot", 1),
    ("bitor", 2),
    ("bitxor", 2),
    ("ceil", 1),
    ("chr", 1),
    ("clientid", 0),
    ("concat", 3),
    ("cos", 1),
    ("cosh", 1),
    ("decode", 2),
    ("encode", 2),
    ("endswith", 2),
    ("exp", 1),
    ("floor", 1),
    ("get", 2),
    ("get_mqtt_property", 1),
    ("get_or_default", 2),
    ("get_user_properties", 1),
    ("indexof", 2),
    ("isNull", 1),
    ("isUndefined", 1),
    ("length", 1),
    ("ln", 1),
    ("log", 1),
    ("lower", 1),
    ("lpad", 2),
    ("ltrim", 1),
    ("md2", 1),
    ("md5", 1),
    ("mod", 2),
    ("nanvl", 2),
    ("newuuid", 0),
    ("numbytes", 1),
    ("parse_time", 3),
    ("power", 2),
    ("principal", 0),
    ("rand", 0),
    ("regexp_matches", 2),
    ("regexp_replace", 3),
    ("regexp_substr", 2),
    ("remainder", 2),
    ("replace", 3),
    ("round", 1),
    ("rpad", 2),
    ("rtrim", 1),
    ("sha1", 1),
    ("sha224", 1),
    ("sha256", 1),
    ("sha384", 1),
    ("sha512", 1),
    ("sign", 1),
    ("sin", 1),
    ("sinh", 1),
    ("sourceip", 0),
    ("sql_version", 0),
    ("sqrt", 1),
    ("startswith", 2),
    ("substring", 3),
    ("tan", 1),
    ("tanh", 1),
    ("time_to_epoch", 2),
    ("timestamp", 0),
    ("topic", 1),
    ("traceid", 0),
    ("transform", 3),
    ("trim", 1),
    ("trunc", 2),
    ("upper", 1),
];

/// The functions that statements may call.
pub(super) fn called() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// A payload that is JSON: an object nearly always.
pub(super) fn payload(noise: &mut Noise) -> String {
    if noise.next().is_multiple_of(16) { json(noise, 3) } else { object(noise, 3) }
}

fn object(noise: &mut Noise, depth: usize) -> String {
    let mut members: Vec<String> = Vec::new();
    for name in NAMES {
        if !noise.next().is_multiple_of(4) {
            members.push(format!("\"{name}\":{}", json(noise, depth)));
        }
    }
    format!("{{{}}}", members.join(","))
}

fn json(noise: &mut Noise, depth: usize) -> String {
    match noise.next() % if depth == 0 { 5 } else { 9 } {
        0 => noise.pick(&["null", "true", "false"]).to_owned(),
        1..3 => noise.pick(NUMBERS).to_owned(),
        3..5 => format!("\"{}\"", noise.pick(TEXTS)),
        5..7 => {
            let items: Vec<String> = (0..noise.next() % 6).map(|_| json(noise, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => object(noise, depth - 1),
    }
}

/// A statement that is one.
pub(super) fn statement(noise: &mut Noise) -> String {
    let variables = noise.next() % 3;
    let mut sql = String::new();
    for number in 0..variables {
        let (start, expr) = (if number == 0 { "SET" } else { "," }, expression(noise, 3, number));
        sql.push_str(&format!("{start} @v{number} = {expr} "));
    }
    sql.push_str(&format!("SELECT {} FROM 'iot/topic'", list(noise, 4, variables)));
    if noise.next().is_multiple_of(3) {
        sql.push_str(&format!(" WHERE {}", expression(noise, 3, variables)));
    }
    sql
}

fn list(noise: &mut Noise, depth: usize, variables: usize) -> String {
    if noise.next().is_multiple_of(3) {
        return format!("VALUE {}", expression(noise, depth, variables));
    }
    let items: Vec<String> = (0..=noise.next() % 3)
        .map(|_| match noise.next() % 8 {
            0 => "*".to_owned(),
            1 => format!("{}.*", noise.pick(NAMES)),
            2 => format!("{{'k-1': {}}}", expression(noise, depth, variables)),
            3 => format!("{} AS p.{}", expression(noise, depth, variables), noise.pick(NAMES)),
            _ => format!("{} AS {}", expression(noise, depth, variables), noise.pick(NAMES)),
        })
        .collect();
    items.join(", ")
}

fn nested(noise: &mut Noise, depth: usize, variables: usize) -> String {
    // Anything may stand behind FROM but a literal that is neither a list nor an object.
    let source = match noise.next() % 5 {
        0 => "*".to_owned(),
        1 => format!("[{}]", expression(noise, depth, variables)),
        2 => format!("get({}, 0)", expression(noise, depth, variables)),
        _ => noise.pick(&["l", "o", "a.l", "[1, 2.5, 'x']", "{'a': l}.a", "missing"]).to_owned(),
    };
    let alias = noise.pick(&["", " AS e", " AS a"]);
    let condition = match noise.next() % 3 {
        0 => format!(" WHERE {}", expression(noise, depth, variables)),
        _ => String::new(),
    };
    format!("(SELECT {} FROM {source}{alias}{condition})", list(noise, depth, variables))
}

fn expression(noise: &mut Noise, depth: usize, variables: usize) -> String {
    if depth == 0 || noise.next().is_multiple_of(5) {
        return operand(noise, variables);
    }
    let mut part = || expression(noise, depth - 1, variables);
    let (x, y, z) = (part(), part(), part());
    match noise.next() % 16 {
        0 => format!("({x} {} {y})", noise.pick(&["+", "-", "*", "/", "%"])),
        1 => format!("({x} {} {y})", noise.pick(&["=", "<>", "<", "<=", ">", ">="])),
        2 => format!("({x} {} {y})", noise.pick(&["AND", "OR"])),
        3 => format!("(NOT {x})"),
        4 => format!("-({x})"),
        5 => format!("({x} {} [{y}, {z}])", noise.pick(&["IN", "NOT IN"])),
        6 => format!("CASE ({x}) WHEN ({y}) THEN {z} ELSE {x} END"),
        7 => format!("{{'a': {x}, \"l\": [{y}, {z}],}}"),
        8 => format!("[{x}, {y}]"),
        9 => format!("cast({x} AS {})", noise.pick(&["int", "decimal", "bool", "string"])),
        10 => format!("({x}).{}", noise.pick(NAMES)),
        11 => nested(noise, depth - 1, variables),
        12 => format!("EXISTS {}", nested(noise, depth - 1, variables)),
        13 => format!("({x} IN {})", nested(noise, depth - 1, variables)),
        _ => {
            let (name, count) = FUNCTIONS[noise.next() % FUNCTIONS.len()];
            format!("{name}({})", [x, y, z][..count].join(", "))
        }
    }
}

fn operand(noise: &mut Noise, variables: usize) -> String {
    match noise.next() % 9 {
        0 => noise.pick(NUMBERS).trim_start_matches('-').to_owned(),
        1 => format!("'{}'", noise.pick(TEXTS)),
        2 => {
            noise.pick(&["true", "false", "NULL", "missing", "e", "e.a", "topic()", "get(*, 'a')"]).to_owned()
        }
        3 => format!("{}.{}", noise.pick(NAMES), noise.pick(NAMES)),
        4 if variables > 0 => format!("@v{}", noise.next() % variables),
        5 if variables > 0 => format!("@v{}.{}", noise.next() % variables, noise.pick(NAMES)),
        _ => noise.pick(&["a", "b", "c", "l", "o", "x", "date"]).to_owned(),
    }
}
