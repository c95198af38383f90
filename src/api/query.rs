//! Query: the engine's page as the wire has it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::shape::{Shape, optional, required};
use crate::query::{ColumnInfo, ColumnType, Datum, Page, QueryRequest};

const REQUEST: Shape = Shape::Structure(&[
    required("QueryString", Shape::Text(1, 262_144)),
    optional("ClientToken", Shape::Text(32, 128)),
    optional("NextToken", Shape::Text(1, 2048)),
    optional("MaxRows", Shape::Integer(1, 1000)),
    optional("QueryInsights", INSIGHTS),
]);
/// Checked as AWS does; no insights are given yet, and the answer's member is optional.
const INSIGHTS: Shape =
    Shape::Structure(&[required("Mode", Shape::Choice(&["ENABLED_WITH_RATE_CONTROL", "DISABLED"]))]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    query_string: String,
    next_token: Option<String>,
    max_rows: Option<usize>,
}

/// Query.
pub(crate) async fn query(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Request { query_string, next_token, max_rows } = super::json::read(&REQUEST, input)?;
    let page = context.engine.query(QueryRequest { sql: query_string, max_rows, next_token }).await?;
    Ok(answer(page))
}

fn answer(page: Page) -> Value {
    let mut answer = json!({
        "QueryId": page.query_id,
        "Rows": page.rows.into_iter().map(row).collect::<Vec<Value>>(),
        "ColumnInfo": page.columns.iter().map(column).collect::<Vec<Value>>(),
        "QueryStatus": {
            "ProgressPercentage": page.progress,
            "CumulativeBytesScanned": page.bytes_scanned,
            "CumulativeBytesMetered": page.bytes_metered,
        },
    });
    if let Some(token) = page.next_token {
        answer["NextToken"] = json!(token);
    }
    answer
}

/// A column's name and type; elements of arrays and time series have no name.
fn column(column: &ColumnInfo) -> Value {
    let kind = match &column.column_type {
        ColumnType::Scalar(scalar) => json!({ "ScalarType": scalar.api_name() }),
        ColumnType::Array(element) => json!({ "ArrayColumnInfo": self::column(element) }),
        ColumnType::TimeSeries(value) => json!({ "TimeSeriesMeasureValueColumnInfo": self::column(value) }),
        ColumnType::Row(fields) => {
            json!({ "RowColumnInfo": fields.iter().map(self::column).collect::<Vec<Value>>() })
        }
    };
    let mut info = Map::new();
    if let Some(name) = &column.name {
        info.insert("Name".into(), json!(name));
    }
    info.insert("Type".into(), kind);
    Value::Object(info)
}

fn row(data: Vec<Datum>) -> Value {
    json!({ "Data": data.into_iter().map(datum).collect::<Vec<Value>>() })
}

fn datum(datum: Datum) -> Value {
    match datum {
        Datum::Null => json!({ "NullValue": true }),
        Datum::Scalar(text) => json!({ "ScalarValue": text }),
        Datum::Array(items) => {
            json!({ "ArrayValue": items.into_iter().map(self::datum).collect::<Vec<Value>>() })
        }
        Datum::Row(fields) => json!({ "RowValue": row(fields) }),
        Datum::TimeSeries(points) => {
            let point = |(time, value)| json!({ "Time": time, "Value": self::datum(value) });
            json!({ "TimeSeriesValue": points.into_iter().map(point).collect::<Vec<Value>>() })
        }
    }
}
