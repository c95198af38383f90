//! Tests of the whole room, from `submit` to `snapshot`.

pub(crate) mod disk;
mod fixture;

mod crash;
mod limits;
mod model;
mod parts;
mod road;
mod tables;
mod upserts;
