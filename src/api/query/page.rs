//! A page as JSON, written straight from the engine's values (spec 6.2).

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use crate::query::{ColumnInfo, Datum, Page};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'p> {
    query_id: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'p str>,
    rows: Vec<Row<'p>>,
    column_info: &'p [ColumnInfo],
    query_status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_insights_response: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    progress_percentage: f64,
    cumulative_bytes_scanned: u64,
    cumulative_bytes_metered: u64,
}

/// The answer of a Query.
pub(super) fn text(page: &Page, insights: Option<Value>) -> String {
    let answer = Answer {
        query_id: &page.query_id,
        next_token: page.next_token.as_deref(),
        rows: page.rows.iter().map(|row| Row(row)).collect(),
        column_info: &page.columns,
        query_status: Status {
            progress_percentage: page.progress,
            cumulative_bytes_scanned: page.bytes_scanned,
            cumulative_bytes_metered: page.bytes_metered,
        },
        query_insights_response: insights,
    };
    serde_json::to_string(&answer).expect("texts, numbers and text keys only")
}

/// A structure of one member.
fn only<S: Serializer>(serializer: S, name: &str, value: &impl Serialize) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, value)?;
    map.end()
}

struct Row<'p>(&'p [Datum]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        only(serializer, "Data", &Data(self.0))
    }
}

struct Data<'p>(&'p [Datum]);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Wire))
    }
}

struct Wire<'p>(&'p Datum);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Datum::Null => only(serializer, "NullValue", &true),
            Datum::Scalar(text) => only(serializer, "ScalarValue", text),
            Datum::Array(items) => only(serializer, "ArrayValue", &Data(items)),
            Datum::Row(fields) => only(serializer, "RowValue", &Row(fields)),
            Datum::TimeSeries(points) => only(serializer, "TimeSeriesValue", &Points(points)),
        }
    }
}

struct Points<'p>(&'p [(String, Datum)]);

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(time, value)| Point { time, value: Wire(value) }))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Point<'p> {
    time: &'p str,
    value: Wire<'p>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::query::{ColumnType, ScalarType};

    fn column(name: Option<&str>, column_type: ColumnType) -> ColumnInfo {
        ColumnInfo { name: name.map(str::to_owned), column_type }
    }

    #[test]
    fn every_kind_of_value_and_type() {
        let double = || Box::new(column(None, ColumnType::Scalar(ScalarType::Double)));
        let columns = vec![
            column(Some("a"), ColumnType::Array(double())),
            column(Some("t"), ColumnType::TimeSeries(double())),
            column(Some("r"), ColumnType::Row(vec![*double()])),
            column(Some("n"), ColumnType::Scalar(ScalarType::Double)),
        ];
        let one = || Datum::Scalar("1.0".to_owned());
        let row = vec![
            Datum::Array(vec![one(), Datum::Null]),
            Datum::TimeSeries(vec![("2020-01-01 00:00:00.000000000".to_owned(), one())]),
            Datum::Row(vec![one()]),
            Datum::Null,
        ];
        let page = Page {
            query_id: "AED".to_owned(),
            columns: Arc::from(columns),
            rows: vec![row],
            next_token: None,
            progress: 100.0,
            bytes_scanned: 7,
            bytes_metered: 10_000_000,
            insights: None,
        };
        let written: Value = serde_json::from_str(&text(&page, None)).expect("JSON");
        let (number, double) =
            (json!({ "ScalarValue": "1.0" }), json!({ "Type": { "ScalarType": "DOUBLE" } }));
        let expected = json!({
            "QueryId": "AED",
            "Rows": [{ "Data": [
                { "ArrayValue": [number, { "NullValue": true }] },
                { "TimeSeriesValue": [{ "Time": "2020-01-01 00:00:00.000000000", "Value": number }] },
                { "RowValue": { "Data": [number] } },
                { "NullValue": true },
            ] }],
            "ColumnInfo": [
                { "Name": "a", "Type": { "ArrayColumnInfo": double } },
                { "Name": "t", "Type": { "TimeSeriesMeasureValueColumnInfo": double } },
                { "Name": "r", "Type": { "RowColumnInfo": [double] } },
                { "Name": "n", "Type": { "ScalarType": "DOUBLE" } },
            ],
            "QueryStatus": { "ProgressPercentage": 100.0, "CumulativeBytesScanned": 7,
                "CumulativeBytesMetered": 10_000_000 },
        });
        assert_eq!(written, expected);
    }
}
