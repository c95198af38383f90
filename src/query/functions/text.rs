//! String functions (spec 4.4). Positions count characters from one, not bytes.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use super::bounded::Weights;
use super::regexp::texts;
use super::scalar::{Call, Code, Def, def};
use crate::query::error::{failed, invalid};
use crate::query::like;
use crate::query::limits::STEPS_MAX;

/// Longest text a function may make; a repeated `rpad` must not eat the machine.
const CHARS_MAX: i64 = 1_000_000;

const SUBSTRING: &[(&str, Code)] = &[
    ("substr(varchar, bigint) -> varchar", |call| substring(call, |_| None)),
    ("substr(varchar, bigint, bigint) -> varchar", |call| {
        substring(call, |row| Some(call.bigint(2).value(row)))
    }),
];

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "chr",
        &[("chr(bigint) -> varchar", |call| {
            call.map_text(|row| {
                let point = call.bigint(0).value(row);
                let character = u32::try_from(point).ok().and_then(char::from_u32);
                let character =
                    character.ok_or_else(|| failed(format!("Not a valid Unicode code point: {point}")))?;
                Ok(Some(character.to_string()))
            })
        })],
    ),
    def(
        "codepoint",
        &[("codepoint(varchar) -> integer", |call| {
            call.map::<_, Int32Array>(|row| {
                let mut characters = call.text(0).value(row).chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => Ok(i32::try_from(u32::from(one)).ok()),
                    _ => Err(failed("codepoint() takes exactly one character")),
                }
            })
        })],
    ),
    def(
        "concat",
        &[
            ("concat(varchar...) -> varchar", |call| {
                call.map_text(|row| {
                    let mut whole = call.allowance.text();
                    (0..call.args.len()).try_for_each(|i| whole.push(call.text(i).value(row)))?;
                    Ok(Some(whole.finish()))
                })
            }),
            ("concat(array(T)...) -> array(T)", concat_arrays),
            ("concat(array(T), T) -> array(T)", |call| joined(call, false)),
            ("concat(T, array(T)) -> array(T)", |call| joined(call, true)),
        ],
    ),
    def(
        "hamming_distance",
        &[("hamming_distance(varchar, varchar) -> bigint", |call| {
            call.map::<_, Int64Array>(|row| {
                let (a, b) = (call.text(0).value(row), call.text(1).value(row));
                if a.chars().count() != b.chars().count() {
                    return Err(failed(
                        "The input strings to hamming_distance function must have the same length",
                    ));
                }
                Ok(whole(a.chars().zip(b.chars()).filter(|(a, b)| a != b).count()))
            })
        })],
    ),
    // The second operand is the escape character or empty.
    def(
        "__like_pattern",
        &[("__like_pattern(varchar, varchar) -> varchar", |call| {
            call.map_text(|row| {
                let escape = call.text(1).value(row).chars().next();
                let spelled = like::pattern(call.text(0).value(row), escape);
                spelled.map(Some).ok_or_else(|| failed(like::WRONG_ESCAPE))
            })
        })],
    ),
    def(
        "length",
        &[("length(varchar) -> bigint", |call| {
            call.map::<_, Int64Array>(|row| Ok(whole(call.text(0).value(row).chars().count())))
        })],
    ),
    def(
        "levenshtein_distance",
        &[("levenshtein_distance(varchar, varchar) -> bigint", |call| {
            call.map::<_, Int64Array>(|row| {
                levenshtein(call, call.text(0).value(row), call.text(1).value(row)).map(whole)
            })
        })],
    ),
    def("lower", &[("lower(varchar) -> varchar", |call| each(call, str::to_lowercase))]),
    def("upper", &[("upper(varchar) -> varchar", |call| each(call, str::to_uppercase))]),
    def(
        "reverse",
        &[
            ("reverse(varchar) -> varchar", |call| each(call, |text| text.chars().rev().collect())),
            ("reverse(array(T)) -> array(T)", super::array::reverse),
        ],
    ),
    def(
        "trim",
        &[
            ("trim(varchar) -> varchar", |call| each(call, |text| text.trim().to_owned())),
            ("trim(varchar, varchar) -> varchar", |call| {
                call.map_text(|row| {
                    let of: Vec<char> = call.text(1).value(row).chars().collect();
                    Ok(Some(call.text(0).value(row).trim_matches(of.as_slice())))
                })
            }),
        ],
    ),
    def(
        "ltrim",
        &[
            ("ltrim(varchar) -> varchar", |call| each(call, |text| text.trim_start().to_owned())),
            ("ltrim(varchar, varchar) -> varchar", |call| {
                call.map_text(|row| {
                    let of: Vec<char> = call.text(1).value(row).chars().collect();
                    Ok(Some(call.text(0).value(row).trim_start_matches(of.as_slice())))
                })
            }),
        ],
    ),
    def(
        "rtrim",
        &[
            ("rtrim(varchar) -> varchar", |call| each(call, |text| text.trim_end().to_owned())),
            ("rtrim(varchar, varchar) -> varchar", |call| {
                call.map_text(|row| {
                    let of: Vec<char> = call.text(1).value(row).chars().collect();
                    Ok(Some(call.text(0).value(row).trim_end_matches(of.as_slice())))
                })
            }),
        ],
    ),
    def("lpad", &[("lpad(varchar, bigint, varchar) -> varchar", |call| pad(call, true))]),
    def("rpad", &[("rpad(varchar, bigint, varchar) -> varchar", |call| pad(call, false))]),
    def(
        "replace",
        &[
            ("replace(varchar, varchar) -> varchar", |call| {
                call.map_text(|row| replaced(call, row, "").map(Some))
            }),
            ("replace(varchar, varchar, varchar) -> varchar", |call| {
                call.map_text(|row| replaced(call, row, call.text(2).value(row)).map(Some))
            }),
        ],
    ),
    def(
        "split",
        &[
            ("split(varchar, varchar) -> array(varchar)", |call| split(call, |_| i64::MAX)),
            ("split(varchar, varchar, bigint) -> array(varchar)", |call| {
                split(call, |row| call.bigint(2).value(row))
            }),
        ],
    ),
    def(
        "split_part",
        &[("split_part(varchar, varchar, bigint) -> varchar", |call| {
            call.map_text(|row| {
                let delimiter = delimiter(call, row)?;
                let part = match usize::try_from(call.bigint(2).value(row)) {
                    Ok(part @ 1..) => part,
                    _ => return Err(failed("Index must be greater than zero")),
                };
                Ok(call.text(0).value(row).split(delimiter).nth(part - 1).map(str::to_owned))
            })
        })],
    ),
    def(
        "strpos",
        &[
            ("strpos(varchar, varchar) -> bigint", |call| position(call, |_| 1)),
            ("strpos(varchar, varchar, bigint) -> bigint", |call| {
                position(call, |row| call.bigint(2).value(row))
            }),
        ],
    ),
    def(
        "strrpos",
        &[
            ("strrpos(varchar, varchar) -> bigint", |call| position(call, |_| -1)),
            ("strrpos(varchar, varchar, bigint) -> bigint", |call| {
                position(call, |row| call.bigint(2).value(row).saturating_neg())
            }),
        ],
    ),
    def("substr", SUBSTRING),
    def("substring", SUBSTRING),
];

fn whole(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

fn each(call: &Call<'_>, code: impl Fn(&str) -> String) -> Result<ArrayRef> {
    call.map_text(|row| Ok(Some(code(call.text(0).value(row)))))
}

/// The text of a row with every occurrence of what is searched replaced.
fn replaced(call: &Call<'_>, row: usize, by: &str) -> Result<String> {
    let (text, search) = (call.text(0).value(row), call.text(1).value(row));
    let (mut whole, mut from) = (call.allowance.text(), 0);
    for (at, found) in text.match_indices(search) {
        whole.push(&text[from..at])?;
        whole.push(by)?;
        from = at + found.len();
    }
    whole.push(&text[from..])?;
    Ok(whole.finish())
}

fn levenshtein(call: &Call<'_>, a: &str, b: &str) -> Result<usize> {
    let b: Vec<char> = b.chars().collect();
    if a.chars().count().saturating_mul(b.len()) > STEPS_MAX {
        return Err(failed(format!(
            "The combined inputs for Levenshtein distance are too large: their lengths multiply to more than \
             {STEPS_MAX}"
        )));
    }
    let mut costs: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        call.allowance.check()?;
        let mut diagonal = costs[0];
        costs[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = costs[j + 1];
            costs[j + 1] = replaced.min(costs[j] + 1).min(diagonal + 1);
        }
    }
    Ok(costs[b.len()])
}

fn pad(call: &Call<'_>, left: bool) -> Result<ArrayRef> {
    call.map_text(|row| {
        let (text, size, padding) =
            (call.text(0).value(row), call.bigint(1).value(row), call.text(2).value(row));
        let size = match usize::try_from(size) {
            Ok(length) if size <= CHARS_MAX => length,
            _ => return Err(failed(format!("Target length must be in the range [0..{CHARS_MAX}]"))),
        };
        if padding.is_empty() {
            return Err(failed("Padding string must not be empty"));
        }
        let length = text.chars().count();
        if length >= size {
            return Ok(Some(first_characters(text, size).to_owned()));
        }
        // Whole paddings first: a character at a time takes ten times as long.
        let (wanted, each) = (size - length, padding.chars().count());
        let padding = padding.repeat(wanted / each) + first_characters(padding, wanted % each);
        Ok(Some(if left { padding + text } else { text.to_owned() + &padding }))
    })
}

fn first_characters(text: &str, count: usize) -> &str {
    let end = text.char_indices().nth(count).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

fn delimiter<'a>(call: &'a Call<'_>, row: usize) -> Result<&'a str> {
    let delimiter = call.text(1).value(row);
    if delimiter.is_empty() {
        Err(failed("The delimiter may not be the empty string"))
    } else {
        Ok(delimiter)
    }
}

fn split(call: &Call<'_>, limit: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    texts(call, |row, list| {
        let limit = match usize::try_from(limit(row)) {
            Ok(limit @ 1..) => limit,
            _ => return Err(failed("Limit must be positive")),
        };
        let mut parts = call.text(0).value(row).splitn(limit, delimiter(call, row)?);
        parts.try_for_each(|part| list.push(Some(part)))
    })
}

/// Where the n-th occurrence begins, from the end if n is negative; 0 if there is none.
fn position(call: &Call<'_>, occurrence: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    call.map::<_, Int64Array>(|row| {
        let (text, wanted, n) = (call.text(0).value(row), call.text(1).value(row), occurrence(row));
        if n == 0 {
            return Err(failed("'instance' must not be zero"));
        }
        if wanted.is_empty() {
            return Ok(Some(1));
        }
        let (mut from, mut to) = (0, text.len());
        for rest in (0..n.unsigned_abs()).rev() {
            call.allowance.check()?;
            let rest_of_text = &text[from..to];
            let found = if n > 0 { rest_of_text.find(wanted) } else { rest_of_text.rfind(wanted) };
            let Some(at) = found.map(|at| from + at) else { break };
            if rest == 0 {
                return Ok(whole(text[..at].chars().count() + 1));
            }
            // Occurrences may overlap: go on one character further, or end one character earlier.
            let size = |character: Option<char>| character.map_or(0, char::len_utf8);
            match n > 0 {
                true => from = at + size(wanted.chars().next()),
                false => to = at + wanted.len() - size(wanted.chars().next_back()),
            }
        }
        Ok(Some(0))
    })
}

fn substring(call: &Call<'_>, length: impl Fn(usize) -> Option<i64>) -> Result<ArrayRef> {
    call.map_text(|row| {
        let (text, start) = (call.text(0).value(row), call.bigint(1).value(row));
        let skipped = match usize::try_from(start) {
            Ok(0) => return Ok(Some(String::new())),
            Ok(start) => start - 1,
            Err(_) => {
                let back = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
                match text.chars().count().checked_sub(back) {
                    Some(skipped) => skipped,
                    None => return Ok(Some(String::new())),
                }
            }
        };
        let taken = length(row).map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(0));
        Ok(Some(text.chars().skip(skipped).take(taken).collect()))
    })
}

#[expect(clippy::cast_sign_loss, reason = "offsets of a list are not negative")]
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn gathered(call: &Call<'_>, values: &ArrayRef, places: &[Vec<u32>], valid: Vec<bool>) -> Result<ArrayRef> {
    let DataType::List(item) = call.returns else { return Err(invalid("an array is a list")) };
    let offsets = OffsetBuffer::from_lengths(places.iter().map(Vec::len));
    let places: UInt32Array = places.iter().flatten().copied().collect();
    let values = take(values, &places, None)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(valid.into()))?))
}

fn place(place: usize) -> Result<u32> {
    u32::try_from(place).map_err(|_| failed("too many elements in one batch"))
}

fn concat_arrays(call: &Call<'_>) -> Result<ArrayRef> {
    let lists: Vec<&ListArray> = call.args.iter().map(|arg| arg.as_list::<i32>()).collect();
    let sources: Vec<&dyn Array> = lists.iter().map(|list| list.values().as_ref()).collect();
    let values = call.allowance.concat(&sources)?;
    let weights = Weights::of(&values, true);
    let (mut places, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        call.allowance.check()?;
        let (mut here, mut before, mut made) = (Vec::new(), 0, 0);
        valid.push(call.all_valid(row));
        for list in &lists {
            if call.all_valid(row) {
                here.extend(range(list, row).map(|i| place(before + i)).collect::<Result<Vec<_>>>()?);
                let bytes = range(list, row).map(|i| weights.at(before + i)).sum();
                made += bytes;
                call.allowance.value(made)?;
                call.allowance.charge(bytes)?;
            }
            before += list.values().len();
        }
        places.push(here);
    }
    gathered(call, &values, &places, valid)
}

/// An array and one element; a NULL element is one, a NULL array makes NULL.
fn joined(call: &Call<'_>, element_first: bool) -> Result<ArrayRef> {
    let (list, element) = if element_first { (1, 0) } else { (0, 1) };
    let (list, element) = (call.list(list), &call.args[element]);
    let before = list.values().len();
    let values = call.allowance.concat(&[list.values().as_ref(), element.as_ref()])?;
    let weights = Weights::of(&values, true);
    let (mut places, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        valid.push(list.is_valid(row));
        let mut here = Vec::new();
        if list.is_valid(row) {
            here = range(list, row).map(place).collect::<Result<Vec<_>>>()?;
            let at = if element_first { 0 } else { here.len() };
            here.insert(at, place(before + row)?);
        }
        call.allowance.grow(here.iter().map(|at| weights.at(*at as usize)).sum())?;
        places.push(here);
    }
    gathered(call, &values, &places, valid)
}
