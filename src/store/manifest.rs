//! The parts of a table, as a chain of immutable numbered files; the newest number is the table.
//!
//! ```text
//! line 1  one JSON object: format, writer, run, flushed_lsn, next_part, schema, parts
//! line 2  {"crc32c": "<8 hex digits of line 1, without its newline>"}
//! ```
//!
//! Every file is complete in itself, so older ones are only kept for a while, for the curious. Rows up
//! to `flushed_lsn` are in the parts; the log is read from there on. Superseded rows are roaring
//! bitmaps in the portable format, as hex.

use bytes::Bytes;
use object_store::path::Path;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::StoreError;
use super::limits::Limits;
use super::objects::{Creation, Objects};
use super::part::PartMeta;
use super::part::seal::Seal;
use super::paths::{self, TableId, WriterId};
use super::schema::{MeasureEntry, MeasureKind, TableSchema, ValueColumn};
use super::wal::position::Lsn;
use crate::clock::Timestamp;
use crate::record::MeasureType;

const FORMAT: u64 = 1;

/// How many manifests are kept beside the newest.
const KEPT: u64 = 2;

/// The state of a table's parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifest {
    /// 0 before the first flush.
    pub(crate) number: u64,
    pub(crate) flushed: Lsn,
    /// The number of the next part of this writer.
    pub(crate) next_part: u64,
    pub(crate) schema: TableSchema,
    pub(crate) parts: Vec<(PartMeta, RoaringBitmap)>,
}

/// Reads the newest manifest of a table; the empty one when there is none.
pub(crate) async fn load(objects: &Objects, table: TableId) -> Result<Manifest, StoreError> {
    let folder = paths::manifests(table);
    let paths = objects.list(&folder).await.map_err(StoreError::objects("listing manifests"))?;
    read(objects, table, paths.iter().filter_map(paths::manifest_number).max()).await
}

/// Reads a manifest of a table; the empty one when it has no number.
pub(crate) async fn read(
    objects: &Objects,
    table: TableId,
    number: Option<u64>,
) -> Result<Manifest, StoreError> {
    let Some(number) = number else { return Ok(Manifest::default()) };
    let path = paths::manifest(table, number);
    let bytes = objects.get(&path).await.map_err(StoreError::objects("reading a manifest"))?;
    decode(&path, &bytes, number).map(|(manifest, _)| manifest)
}

/// Commits `manifest` under the first free number from its own on, and returns that number.
///
/// A number can be taken by an attempt of this run that was reported as failed; its content was
/// complete but is older than this one, so it is stepped over. Another writer's is a conflict, and so
/// is one of another run: a copy of the store's folder is in use somewhere, and going on would lose
/// its rows.
pub(crate) async fn commit(
    objects: &Objects,
    table: TableId,
    writer: &WriterId,
    manifest: &mut Manifest,
) -> Result<(), StoreError> {
    let bytes = encode(manifest, writer);
    loop {
        let path = paths::manifest(table, manifest.number);
        let creation = objects.create(&path, bytes.clone()).await;
        if creation.map_err(StoreError::objects("writing a manifest"))? == Creation::Created {
            break;
        }
        let taken = objects.get(&path).await.map_err(StoreError::objects("reading a manifest"))?;
        let (_, other) = decode(&path, &taken, manifest.number)?;
        if other != *writer {
            let reason = format!(
                "{path} was written by another daemon, {} in its run {}, maybe on a copy of the folder",
                other.id(),
                other.run()
            );
            return Err(StoreError::Unavailable { reason });
        }
        manifest.number += 1;
    }
    if let Some(old) = manifest.number.checked_sub(KEPT + 1).filter(|old| *old > 0)
        && let Err(error) = objects.delete(&paths::manifest(table, old)).await
    {
        warn!(%error, number = old, "an old manifest could not be deleted");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct ManifestRow {
    format: u64,
    writer: String,
    #[serde(default)]
    run: String,
    flushed_lsn: u64,
    next_part: u64,
    schema: SchemaRow,
    parts: Vec<PartRow>,
}

#[derive(Serialize, Deserialize)]
struct SchemaRow {
    dimensions: Vec<String>,
    values: Vec<ValueRow>,
    measures: Vec<MeasureRow>,
}

#[derive(Serialize, Deserialize)]
struct ValueRow {
    name: String,
    r#type: String,
    multi: bool,
}

/// `dimensions` is a bit set in hex.
#[derive(Serialize, Deserialize)]
struct MeasureRow {
    name: String,
    r#type: String,
    dimensions: String,
}

#[derive(Serialize, Deserialize)]
struct PartRow {
    path: String,
    bytes: u64,
    rows: u64,
    time_min: i64,
    time_max: i64,
    /// Where the checksums of the part's blocks begin, and the checksum from there to its end.
    sealed_from: u64,
    crc32c: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    superseded: String,
}

#[derive(Serialize, Deserialize)]
struct Checksum {
    crc32c: String,
}

fn encode(manifest: &Manifest, writer: &WriterId) -> Bytes {
    let row = ManifestRow {
        format: FORMAT,
        writer: writer.id().to_owned(),
        run: writer.run().to_owned(),
        flushed_lsn: manifest.flushed.get(),
        next_part: manifest.next_part,
        schema: SchemaRow::from(&manifest.schema),
        parts: manifest.parts.iter().map(PartRow::from).collect(),
    };
    let mut bytes = serde_json::to_vec(&row).expect("rows have text keys only");
    let checksum = Checksum { crc32c: format!("{:08x}", crc32c::crc32c(&bytes)) };
    bytes.push(b'\n');
    bytes.extend(serde_json::to_vec(&checksum).expect("rows have text keys only"));
    bytes.push(b'\n');
    bytes.into()
}

fn decode(path: &Path, bytes: &[u8], number: u64) -> Result<(Manifest, WriterId), StoreError> {
    let damaged = |reason: &str| StoreError::damaged(path, 0, reason);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let (body, checksum) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let checksum: Checksum =
        serde_json::from_slice(checksum).map_err(|_| damaged("its checksum is missing"))?;
    if checksum.crc32c != format!("{:08x}", crc32c::crc32c(body)) {
        return Err(damaged("the checksum does not match"));
    }
    // First of all: the members of a later format are not known.
    let Format { format } = serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))?;
    if format > FORMAT {
        return Err(StoreError::Format { path: path.to_string(), found: format, known: FORMAT });
    }
    let row: ManifestRow = serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))?;
    let schema = row.schema.into_schema().ok_or_else(|| damaged("its schema makes no sense"))?;
    let parts = row.parts.into_iter().map(PartRow::into_part).collect::<Option<_>>();
    let manifest = Manifest {
        number,
        flushed: Lsn::new(row.flushed_lsn),
        next_part: row.next_part,
        schema,
        parts: parts.ok_or_else(|| damaged("its parts make no sense"))?,
    };
    Ok((manifest, WriterId::from_texts(row.writer, row.run)))
}

impl From<&TableSchema> for SchemaRow {
    fn from(schema: &TableSchema) -> Self {
        let value = |column: &ValueColumn| ValueRow {
            name: column.name.clone(),
            r#type: column.value.sql_name().to_owned(),
            multi: column.multi,
        };
        let measure = |entry: &MeasureEntry| MeasureRow {
            name: entry.name.clone(),
            r#type: entry.kind.sql_name().to_owned(),
            dimensions: format!("{:x}", entry.dimensions),
        };
        Self {
            dimensions: schema.dimensions().to_vec(),
            values: schema.values().iter().map(value).collect(),
            measures: schema.measure_entries().iter().map(measure).collect(),
        }
    }
}

impl SchemaRow {
    fn into_schema(self) -> Option<TableSchema> {
        let bounded = self.dimensions.len() <= Limits::MOST.dimensions_per_table
            && self.values.len() <= Limits::MOST.unique_attributes_per_table + 5
            && self.measures.len() <= Limits::MOST.measure_names_per_table;
        if !bounded {
            return None;
        }
        let mut schema = TableSchema::default();
        for name in self.dimensions {
            schema.add_dimension(name);
        }
        for row in self.values {
            let value = measure_type(&row.r#type)?;
            schema.add_value(ValueColumn { name: row.name, value, multi: row.multi });
        }
        for row in self.measures {
            let kind = match row.r#type.as_str() {
                "multi" => MeasureKind::Multi,
                name => MeasureKind::Single(measure_type(name)?),
            };
            let dimensions = u128::from_str_radix(&row.dimensions, 16).ok()?;
            schema.add_measure(MeasureEntry { name: row.name, kind, dimensions });
        }
        Some(schema)
    }
}

fn measure_type(name: &str) -> Option<MeasureType> {
    let types = [
        MeasureType::Double,
        MeasureType::Bigint,
        MeasureType::Varchar,
        MeasureType::Boolean,
        MeasureType::Timestamp,
    ];
    types.into_iter().find(|known| known.sql_name() == name)
}

impl From<&(PartMeta, RoaringBitmap)> for PartRow {
    fn from((meta, superseded): &(PartMeta, RoaringBitmap)) -> Self {
        Self {
            path: meta.path.to_string(),
            bytes: meta.bytes,
            rows: meta.rows,
            time_min: meta.time_min.nanos(),
            time_max: meta.time_max.nanos(),
            sealed_from: meta.seal.start,
            crc32c: format!("{:08x}", meta.seal.crc32c),
            superseded: hex(superseded),
        }
    }
}

impl PartRow {
    fn into_part(self) -> Option<(PartMeta, RoaringBitmap)> {
        let meta = PartMeta {
            path: Path::parse(self.path).ok()?,
            bytes: self.bytes,
            rows: self.rows,
            time_min: Timestamp::from_nanos(self.time_min),
            time_max: Timestamp::from_nanos(self.time_max),
            seal: Seal { start: self.sealed_from, crc32c: u32::from_str_radix(&self.crc32c, 16).ok()? },
        };
        (meta.seal.start < meta.bytes).then_some(())?;
        Some((meta, bitmap(&self.superseded)?))
    }
}

fn hex(bitmap: &RoaringBitmap) -> String {
    use std::fmt::Write;
    if bitmap.is_empty() {
        return String::new();
    }
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).expect("memory takes every byte");
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every character");
        text
    })
}

fn bitmap(text: &str) -> Option<RoaringBitmap> {
    if text.is_empty() {
        return Some(RoaringBitmap::new());
    }
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
    RoaringBitmap::deserialize_from(bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests;
