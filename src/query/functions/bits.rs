//! Bitwise functions.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::common::Result;

use super::scalar::{Call, Def, def};
use crate::query::error::failed;

pub(super) const FUNCTIONS: &[Def] = &[
    def("bit_count", &[("bit_count(bigint, bigint) -> bigint", bit_count)]),
    def("bitwise_and", &[("bitwise_and(bigint, bigint) -> bigint", |call| two(call, |a, b| a & b))]),
    def("bitwise_or", &[("bitwise_or(bigint, bigint) -> bigint", |call| two(call, |a, b| a | b))]),
    def("bitwise_xor", &[("bitwise_xor(bigint, bigint) -> bigint", |call| two(call, |a, b| a ^ b))]),
    def(
        "bitwise_not",
        &[("bitwise_not(bigint) -> bigint", |call| {
            let inverted: Int64Array = call.bigint(0).unary(|bits| !bits);
            Ok(Arc::new(inverted))
        })],
    ),
];

fn two(call: &Call<'_>, code: fn(i64, i64) -> i64) -> Result<ArrayRef> {
    call.map::<_, Int64Array>(|row| Ok(Some(code(call.bigint(0).value(row), call.bigint(1).value(row)))))
}

/// The set bits of a number in two's complement of a given width.
fn bit_count(call: &Call<'_>) -> Result<ArrayRef> {
    call.map::<_, Int64Array>(|row| {
        let (number, width) = (call.bigint(0).value(row), call.bigint(1).value(row));
        let unused = match u32::try_from(width) {
            Ok(width @ 2..=64) => 64 - width,
            _ => {
                return Err(failed(format!(
                    "Bits specified in bit_count must be between 2 and 64, got {width}"
                )));
            }
        };
        if (number << unused) >> unused != number {
            return Err(failed(format!(
                "Number must be representable with the bits specified. {number} can not be represented with \
                 {width} bits"
            )));
        }
        Ok(Some((number << unused).count_ones().into()))
    })
}
