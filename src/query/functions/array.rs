//! Functions of arrays.
//!
//! Elements are compared by Arrow's row format, which knows every type, NULL and nested arrays. A
//! result is described by the places its elements come from and gathered in one go.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StructArray, UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::Result;
use datafusion::logical_expr::Volatility;
use uuid::Uuid;

use super::bounded::{Allowance, Weights};
use super::conversion::cast_array;
use super::scalar::{Call, Def, def};
use super::sequence;
use crate::query::error::{failed, invalid};
use crate::query::limits::CALL_BYTES_MAX;
use crate::query::sql_type::SqlType;

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "cardinality",
        &[("cardinality(array(T)) -> bigint", |call| {
            call.map::<_, Int64Array>(|row| Ok(whole(range(call.list(0), row).len())))
        })],
    ),
    def(
        "element_at",
        &[("element_at(array(T), bigint) -> T", |call| {
            pick(call, |length, wanted| match wanted {
                0 => Err(failed("SQL array indices start at 1")),
                1.. => Ok(usize::try_from(wanted - 1).ok().filter(|place| *place < length)),
                _ => {
                    Ok(usize::try_from(wanted.unsigned_abs()).ok().and_then(|back| length.checked_sub(back)))
                }
            })
        })],
    ),
    def(
        "__subscript",
        &[("subscript(array(T), bigint) -> T", |call| {
            pick(call, |length, wanted| match wanted {
                0 => Err(failed("SQL array indices start at 1")),
                ..0 => Err(failed(format!("Array subscript is negative: {wanted}"))),
                _ => match usize::try_from(wanted - 1) {
                    Ok(place) if place < length => Ok(Some(place)),
                    _ => Err(failed(format!(
                        "Array subscript must be less than or equal to array length: {wanted} > {length}"
                    ))),
                },
            })
        })],
    ),
    def(
        "array_distinct",
        &[("array_distinct(array(T)) -> array(T)", |call| sets(call, |one, _| unique(one)))],
    ),
    def(
        "array_union",
        &[("array_union(array(T), array(T)) -> array(T)", |call| {
            sets(call, |one, other| unique(&[one, other].concat()))
        })],
    ),
    def(
        "array_intersect",
        &[("array_intersect(array(T), array(T)) -> array(T)", |call| {
            sets(call, |one, other| {
                let other: HashSet<Row<'_>> = other.iter().map(|(row, _)| *row).collect();
                let both: Vec<_> = one.iter().filter(|(row, _)| other.contains(row)).copied().collect();
                unique(&both)
            })
        })],
    ),
    def(
        "array_except",
        &[("array_except(array(T), array(T)) -> array(T)", |call| {
            sets(call, |one, other| {
                let other: HashSet<Row<'_>> = other.iter().map(|(row, _)| *row).collect();
                let rest: Vec<_> = one.iter().filter(|(row, _)| !other.contains(row)).copied().collect();
                unique(&rest)
            })
        })],
    ),
    def(
        "array_join",
        &[
            ("array_join(array(T), varchar) -> varchar", |call| join(call, |_| None)),
            ("array_join(array(T), varchar, varchar) -> varchar", |call| {
                join(call, |row| Some(call.text(2).value(row)))
            }),
        ],
    ),
    def("array_max", &[("array_max(array(T)) -> T", |call| extreme(call, |a, b| a > b))]),
    def("array_min", &[("array_min(array(T)) -> T", |call| extreme(call, |a, b| a < b))]),
    def(
        "array_position",
        &[("array_position(array(T), T) -> bigint", |call| {
            let keys = keys(&[call.list(0).values(), &call.args[1]])?;
            call.map::<_, Int64Array>(|row| {
                let wanted = keys[1].row(row);
                let found = range(call.list(0), row).position(|place| keys[0].row(place) == wanted);
                Ok(whole(found.map_or(0, |place| place + 1)))
            })
        })],
    ),
    def(
        "contains",
        &[("contains(array(T), T) -> boolean", |call| {
            let keys = keys(&[call.list(0).values(), &call.args[1]])?;
            let values = call.list(0).values();
            call.map::<_, BooleanArray>(|row| {
                let wanted = keys[1].row(row);
                let found = range(call.list(0), row).any(|place| keys[0].row(place) == wanted);
                let open = || range(call.list(0), row).any(|place| values.is_null(place));
                Ok(if found { Some(true) } else { (!open()).then_some(false) })
            })
        })],
    ),
    def(
        "array_remove",
        &[("array_remove(array(T), T) -> array(T)", |call| {
            let list = call.list(0);
            let keys = keys(&[list.values(), &call.args[1]])?;
            gather(call, list.values(), |row| {
                let unwanted = keys[1].row(row);
                range(list, row).filter(|place| keys[0].row(*place) != unwanted).map(place).collect()
            })
        })],
    ),
    def(
        "array_sort",
        &[("array_sort(array(T)) -> array(T)", |call| {
            let list = call.list(0);
            let keys = keys(&[list.values()])?;
            gather(call, list.values(), |row| {
                let mut places: Vec<usize> = range(list, row).collect();
                places.sort_by(|a, b| {
                    let nulls = list.values().is_null(*a).cmp(&list.values().is_null(*b));
                    nulls.then_with(|| keys[0].row(*a).cmp(&keys[0].row(*b)))
                });
                places.into_iter().map(place).collect()
            })
        })],
    ),
    def(
        "arrays_overlap",
        &[("arrays_overlap(array(T), array(T)) -> boolean", |call| {
            let (one, other) = (call.list(0), call.list(1));
            let keys = keys(&[one.values(), other.values()])?;
            call.map::<_, BooleanArray>(|row| {
                let valid = |list: &ListArray, place: usize| list.values().is_valid(place);
                let known: HashSet<Row<'_>> = range(one, row)
                    .filter(|place| valid(one, *place))
                    .map(|place| keys[0].row(place))
                    .collect();
                let common =
                    range(other, row).any(|place| valid(other, place) && known.contains(&keys[1].row(place)));
                let open = range(one, row).any(|place| !valid(one, place))
                    || range(other, row).any(|place| !valid(other, place));
                Ok(if common { Some(true) } else { (!open).then_some(false) })
            })
        })],
    ),
    def(
        "repeat",
        &[("repeat(T, bigint) -> array(T)", |call| {
            gather_where(
                call,
                &call.args[0],
                |row| call.args[1].is_valid(row),
                |row| {
                    let times = usize::try_from(call.bigint(1).value(row)).unwrap_or(0);
                    match times > sequence::ENTRIES_MAX {
                        true => {
                            Err(failed(format!("repeat() makes at most {} elements", sequence::ENTRIES_MAX)))
                        }
                        false => Ok(vec![place(row)?; times]),
                    }
                },
                Some(&Weights::of(&call.args[0], true)),
            )
        })],
    ),
    def(
        "sequence",
        &[
            ("sequence(bigint, bigint) -> array(bigint)", |call| sequence::numbers(call, None)),
            ("sequence(bigint, bigint, bigint) -> array(bigint)", |call| sequence::numbers(call, Some(2))),
            ("sequence(timestamp, timestamp) -> array(timestamp)", |call| sequence::moments(call, None)),
            ("sequence(timestamp, timestamp, interval day to second) -> array(timestamp)", |call| {
                sequence::moments(call, Some(2))
            }),
            ("sequence(timestamp, timestamp, interval year to month) -> array(timestamp)", sequence::months),
        ],
    ),
    Def {
        name: "shuffle",
        forms: &[("shuffle(array(T)) -> array(T)", |call| {
            let list = call.list(0);
            gather(call, list.values(), |row| {
                let mut places: Vec<(Uuid, usize)> =
                    range(list, row).map(|place| (Uuid::new_v4(), place)).collect();
                places.sort_unstable();
                places.into_iter().map(|(_, at)| place(at)).collect()
            })
        })],
        volatility: Volatility::Volatile,
        wrong_call_is_syntax: false,
    },
    def(
        "slice",
        &[("slice(array(T), bigint, bigint) -> array(T)", |call| {
            let list = call.list(0);
            gather(call, list.values(), |row| {
                let (all, start, length) =
                    (range(list, row), call.bigint(1).value(row), call.bigint(2).value(row));
                let length = usize::try_from(length)
                    .map_err(|_| failed("length must be greater than or equal to 0"))?;
                let skipped = match start {
                    0 => return Err(failed("SQL array indices start at 1")),
                    1.. => usize::try_from(start - 1).ok(),
                    _ => usize::try_from(start.unsigned_abs())
                        .ok()
                        .and_then(|back| all.len().checked_sub(back)),
                };
                match skipped {
                    Some(skipped) => all.skip(skipped).take(length).map(place).collect(),
                    None => Ok(vec![]),
                }
            })
        })],
    ),
    def(
        "trim_array",
        &[("trim_array(array(T), bigint) -> array(T)", |call| {
            let list = call.list(0);
            gather(call, list.values(), |row| {
                let all = range(list, row);
                let less = usize::try_from(call.bigint(1).value(row)).ok();
                let kept = less.and_then(|less| all.len().checked_sub(less));
                let kept =
                    kept.ok_or_else(|| failed("size must not exceed array cardinality or be negative"))?;
                all.take(kept).map(place).collect()
            })
        })],
    ),
    def("array_first", &[("array_first(array(T)) -> T", |call| end(call, |all| all.min()))]),
    def("array_last", &[("array_last(array(T)) -> T", |call| end(call, |all| all.max()))]),
    def(
        "contains_sequence",
        &[("contains_sequence(array(T), array(T)) -> boolean", |call| {
            let (one, other) = (call.list(0), call.list(1));
            let keys = keys(&[one.values(), other.values()])?;
            call.map::<_, BooleanArray>(|row| {
                let all: Vec<Row<'_>> = range(one, row).map(|place| keys[0].row(place)).collect();
                let part: Vec<Row<'_>> = range(other, row).map(|place| keys[1].row(place)).collect();
                if part.is_empty() {
                    return Ok(Some(true));
                }
                call.allowance.steps(all.len(), part.len())?;
                Ok(Some(all.windows(part.len()).any(|window| window == part)))
            })
        })],
    ),
    def(
        "flatten",
        &[("flatten(array(array(T))) -> array(T)", |call| {
            let outer = call.list(0);
            let inner = outer.values().as_list::<i32>();
            gather(call, inner.values(), |row| {
                let lists = range(outer, row).filter(|list| inner.is_valid(*list));
                lists.flat_map(|list| range(inner, list)).map(place).collect()
            })
        })],
    ),
];

fn whole(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

fn place(place: usize) -> Result<u32> {
    u32::try_from(place).map_err(|_| failed("too many elements in one batch"))
}

/// The elements of a row.
#[expect(clippy::cast_sign_loss, reason = "offsets of a list are not negative")]
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Columns of one type in a form in which values can be compared and hashed.
pub(super) fn keys(columns: &[&ArrayRef]) -> Result<Vec<Rows>> {
    let of = columns.first().map_or(DataType::Null, |column| column.data_type().clone());
    // Rows hold texts in full, also those that elements share.
    let bytes: usize = columns.iter().map(|column| Weights::of(*column, true).total(column.len())).sum();
    if bytes > CALL_BYTES_MAX {
        return Err(failed(format!(
            "the values to compare in one batch of rows exceed {} MiB",
            CALL_BYTES_MAX >> 20
        )));
    }
    let converter = RowConverter::new(vec![SortField::new(of)])?;
    columns.iter().map(|column| Ok(converter.convert_columns(&[Arc::clone(*column)])?)).collect()
}

/// An array per row without NULL operands, its elements from these places of `values`. No array is
/// longer than the operands are together.
fn gather(
    call: &Call<'_>,
    values: &ArrayRef,
    places: impl Fn(usize) -> Result<Vec<u32>>,
) -> Result<ArrayRef> {
    gather_where(call, values, |row| call.all_valid(row), places, None)
}

fn gather_where(
    call: &Call<'_>,
    values: &ArrayRef,
    valid: impl Fn(usize) -> bool,
    places: impl Fn(usize) -> Result<Vec<u32>>,
    weights: Option<&Weights>,
) -> Result<ArrayRef> {
    let DataType::List(item) = call.returns else { return Err(invalid("an array is a list")) };
    let (mut all, mut lengths, mut nulls) = (Vec::new(), Vec::with_capacity(call.rows), Vec::new());
    for row in 0..call.rows {
        call.allowance.check()?;
        let here = if valid(row) { places(row)? } else { vec![] };
        if let Some(weights) = weights {
            call.allowance.grow(here.iter().map(|at| weights.at(*at as usize)).sum())?;
        }
        nulls.push(valid(row));
        lengths.push(here.len());
        all.extend(here);
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    let values = take(values, &UInt32Array::from(all), None)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls.into()))?))
}

/// One element per row, or NULL.
fn pick(call: &Call<'_>, which: impl Fn(usize, i64) -> Result<Option<usize>>) -> Result<ArrayRef> {
    let list = call.list(0);
    let places = (0..call.rows).map(|row| {
        if !call.all_valid(row) {
            return Ok(None);
        }
        let range = range(list, row);
        which(range.len(), call.bigint(1).value(row))?.map(|at| place(range.start + at)).transpose()
    });
    let places: UInt32Array = places.collect::<Result<_>>()?;
    Ok(take(list.values(), &places, None)?)
}

/// The element at one end of each array.
fn end(call: &Call<'_>, which: fn(std::ops::Range<usize>) -> Option<usize>) -> Result<ArrayRef> {
    let list = call.list(0);
    let places = (0..call.rows).map(|row| {
        let all = if list.is_valid(row) { range(list, row) } else { 0..0 };
        which(all).map(place).transpose()
    });
    let places: UInt32Array = places.collect::<Result<_>>()?;
    Ok(take(list.values(), &places, None)?)
}

type Keyed<'a> = (Row<'a>, usize);

/// Each value once, where it comes first.
fn unique(elements: &[Keyed<'_>]) -> Vec<usize> {
    let mut seen = HashSet::new();
    elements.iter().filter(|(key, _)| seen.insert(*key)).map(|(_, place)| *place).collect()
}

/// Set operations on one array or two.
fn sets(call: &Call<'_>, code: impl Fn(&[Keyed<'_>], &[Keyed<'_>]) -> Vec<usize>) -> Result<ArrayRef> {
    let lists: Vec<&ListArray> = call.args.iter().map(|arg| arg.as_list::<i32>()).collect();
    let columns: Vec<&ArrayRef> = lists.iter().map(|list| list.values()).collect();
    let keys = keys(&columns)?;
    let sources: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
    let all = call.allowance.concat(&sources)?;
    let keyed = |list: usize, row: usize, before: usize| -> Vec<Keyed<'_>> {
        range(lists[list], row).map(|at| (keys[list].row(at), before + at)).collect()
    };
    gather(call, &all, |row| {
        let one = keyed(0, row, 0);
        let other = if lists.len() > 1 { keyed(1, row, lists[0].values().len()) } else { vec![] };
        code(&one, &other).into_iter().map(place).collect()
    })
}

fn join<'a>(call: &'a Call<'_>, null: impl Fn(usize) -> Option<&'a str>) -> Result<ArrayRef> {
    let list = call.list(0);
    let texts = cast_array(list.values(), &SqlType::Varchar, false)?;
    let texts = texts.as_string_view();
    call.map_text(|row| {
        let parts = range(list, row).filter_map(|at| match texts.is_valid(at) {
            true => Some(texts.value(at)),
            false => null(row),
        });
        let mut whole = call.allowance.text();
        for (i, part) in parts.enumerate() {
            whole.push(if i > 0 { call.text(1).value(row) } else { "" })?;
            whole.push(part)?;
        }
        Ok(Some(whole.finish()))
    })
}

/// The element that beats all others; NULL if one is NULL.
fn extreme(call: &Call<'_>, beats: impl Fn(Row<'_>, Row<'_>) -> bool) -> Result<ArrayRef> {
    let list = call.list(0);
    let keys = keys(&[list.values()])?;
    let places = (0..call.rows).map(|row| {
        let elements = range(list, row);
        if list.is_null(row) || elements.clone().any(|at| list.values().is_null(at)) {
            return Ok(None);
        }
        let best =
            elements.reduce(|best, at| if beats(keys[0].row(at), keys[0].row(best)) { at } else { best });
        best.map(place).transpose()
    });
    let places: UInt32Array = places.collect::<Result<_>>()?;
    Ok(take(list.values(), &places, None)?)
}

pub(super) fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let list = call.list(0);
    gather(call, list.values(), |row| range(list, row).rev().map(place).collect())
}

/// `zip(a, b, ..)`: rows of the elements of as many arrays; the shorter ones are filled up with NULL.
pub(super) fn zip(
    args: &[ArrayRef],
    rows: usize,
    returns: &DataType,
    allowance: &Allowance<'_>,
) -> Result<ArrayRef> {
    let DataType::List(item) = returns else { return Err(invalid("an array is a list")) };
    let DataType::Struct(fields) = item.data_type() else { return Err(invalid("zip() makes rows")) };
    let lists = args.iter().map(|arg| arg.as_list_opt::<i32>());
    let lists: Vec<&ListArray> =
        lists.collect::<Option<_>>().ok_or_else(|| invalid("zip() takes arrays only"))?;
    let mut places: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let all_valid = lists.iter().all(|list| list.is_valid(row));
        let longest =
            lists.iter().map(|list| range(list, row).len()).max().filter(|_| all_valid).unwrap_or(0);
        allowance.check()?;
        allowance.grow(longest.saturating_mul(lists.len()).saturating_mul(size_of::<u64>()))?;
        for (places, list) in places.iter_mut().zip(&lists) {
            let elements = range(list, row);
            for i in 0..longest {
                places.push((i < elements.len()).then(|| place(elements.start + i)).transpose()?);
            }
        }
        lengths.push(longest);
        valid.push(all_valid);
    }
    let columns = lists.iter().zip(places);
    let columns = columns.map(|(list, places)| Ok(take(list.values(), &UInt32Array::from(places), None)?));
    let values = StructArray::try_new(fields.clone(), columns.collect::<Result<_>>()?, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, Arc::new(values), Some(valid.into()))?))
}
