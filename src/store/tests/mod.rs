//! Tests of the whole room, from `submit` to `snapshot`.
