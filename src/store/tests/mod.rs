//! Tests of the whole room, from `submit` to `snapshot`.

mod bucket;
pub(crate) mod disk;
mod fixture;

mod compaction;
mod crash;
mod damage;
mod elsewhere;
mod limits;
mod model;
mod parts;
mod retention;
mod road;
mod tables;
mod upserts;
