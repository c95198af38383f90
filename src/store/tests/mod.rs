//! Tests of the whole room, from `submit` to `snapshot`.

mod bucket;
mod dice;
pub(crate) mod disk;
mod fixture;
mod history;

mod compaction;
mod crash;
mod damage;
mod elsewhere;
mod flips;
mod formats;
mod limits;
mod model;
mod parts;
mod retention;
mod road;
mod tables;
mod together;
mod troubles;
mod upserts;
