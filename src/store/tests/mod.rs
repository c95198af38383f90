//! Tests of the whole room, from `submit` to `snapshot`.

pub(crate) mod disk;
mod fixture;

mod compaction;
mod crash;
mod damage;
mod limits;
mod model;
mod parts;
mod retention;
mod road;
mod tables;
mod upserts;
