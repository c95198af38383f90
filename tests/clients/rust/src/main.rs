//! The AWS SDKs for Rust against a tidemill: `tidemill-rust-client option|environment|refused URL`.
//!
//! With `refused` the daemon lets the caller read only, and gives insights once a second, as AWS does.
//! Ends with an error at the first answer that is not what the SDK of a user would expect.

use std::process::ExitCode;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_timestreamquery::config::Credentials;
use aws_sdk_timestreamquery::types::{QueryInsights, QueryInsightsMode};
use aws_sdk_timestreamwrite::operation::write_records::WriteRecordsError;
use aws_sdk_timestreamwrite::types::{Dimension, MeasureValueType, Record, TimeUnit};

type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

const DATABASE: &str = "rust";
const TABLE: &str = "points";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, way, url] = &arguments[..] else {
        eprintln!("usage: tidemill-rust-client option|environment|refused URL");
        return ExitCode::from(2);
    };
    match run(way, url).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error} ({error:?})");
            ExitCode::FAILURE
        }
    }
}

async fn run(way: &str, url: &str) -> Done {
    let config = config(way, url).await;
    let write = aws_sdk_timestreamwrite::Client::new(&config);
    let query = aws_sdk_timestreamquery::Client::new(&config);
    if way == "refused" {
        return refusals(&write, &query).await;
    }
    tables(&write).await?;
    let first = records(&write).await?;
    rejections(&write, &first).await?;
    pages(&query).await?;
    mistakes(&write, &query).await
}

/// With `environment` the SDK finds the endpoint by itself, in `AWS_ENDPOINT_URL`.
async fn config(way: &str, url: &str) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("any", "any-secret", None, None, "test"));
    if way == "refused" {
        loader = loader.retry_config(RetryConfig::disabled());
    }
    if way != "environment" {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

async fn tables(write: &aws_sdk_timestreamwrite::Client) -> Done {
    write.create_database().database_name(DATABASE).send().await?;
    for n in 0..25 {
        write.create_table().database_name(DATABASE).table_name(format!("t{n:02}")).send().await?;
    }
    write.create_table().database_name(DATABASE).table_name(TABLE).send().await?;
    let (mut names, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let page = write.list_tables().database_name(DATABASE).set_next_token(token).send().await?;
        pages += 1;
        names.extend(page.tables().iter().filter_map(|table| table.table_name().map(str::to_owned)));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (26, 2));
    let described = write.describe_table().database_name(DATABASE).table_name(TABLE).send().await?;
    let table = described.table.expect("a table");
    assert!(table.arn().is_some_and(|arn| arn.ends_with("database/rust/table/points")));
    assert!(table.creation_time().is_some_and(|time| time.secs() > 1_700_000_000));
    let taken = write.create_table().database_name(DATABASE).table_name(TABLE).send().await;
    let taken = taken.expect_err("the name is taken").into_service_error();
    assert!(taken.is_conflict_exception(), "{taken:?}");
    // Its own type has the text too, which is required by the model.
    assert!(taken.to_string().contains("points"), "{taken}");
    Ok(())
}

fn record(n: i64, value: &str) -> Record {
    let host = Dimension::builder().name("host").value("h").build().expect("complete");
    Record::builder()
        .dimensions(host)
        .measure_name("n")
        .measure_value(value)
        .measure_value_type(MeasureValueType::Bigint)
        .time((1_700_000_000 + n).to_string())
        .time_unit(TimeUnit::Seconds)
        .version(1)
        .build()
}

async fn records(write: &aws_sdk_timestreamwrite::Client) -> Done<Record> {
    for start in (0..1_200).step_by(100) {
        let records = (start..start + 100).map(|n| record(n, &n.to_string())).collect();
        let written =
            write.write_records().database_name(DATABASE).table_name(TABLE).set_records(Some(records));
        let ingested = written.send().await?.records_ingested.expect("counters");
        assert_eq!(ingested.total(), 100);
    }
    Ok(record(0, "7"))
}

async fn rejections(write: &aws_sdk_timestreamwrite::Client, changed: &Record) -> Done {
    let sent = write.write_records().database_name(DATABASE).table_name(TABLE);
    let rejected = sent.records(changed.clone()).send().await.expect_err("the same version");
    match rejected.into_service_error() {
        WriteRecordsError::RejectedRecordsException(rejected) => {
            let [record] = rejected.rejected_records() else { panic!("{rejected:?}") };
            assert_eq!(record.record_index(), 0);
            assert!(record.reason().is_some_and(|reason| reason.contains("higher record version")));
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

async fn pages(query: &aws_sdk_timestreamquery::Client) -> Done {
    let sql = "SELECT measure_value::bigint FROM rust.points ORDER BY time";
    let insights = QueryInsights::builder().mode(QueryInsightsMode::EnabledWithRateControl).build()?;
    let asked = query.query().query_string(sql).query_insights(insights).max_rows(500);
    let (mut values, mut count, mut token) = (Vec::new(), 0, None);
    loop {
        let page = asked.clone().set_next_token(token).send().await?;
        count += 1;
        let insights = page.query_insights_response().expect("insights");
        assert_eq!(insights.query_table_count(), Some(1));
        for row in page.rows() {
            values.push(row.data()[0].scalar_value().expect("a value").parse::<i64>()?);
        }
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((values, count), ((0..1_200).collect(), 3));
    let prepared = query.prepare_query().query_string(sql).validate_only(true).send().await?;
    assert_eq!(prepared.columns().len(), 1);
    Ok(())
}

async fn refusals(write: &aws_sdk_timestreamwrite::Client, query: &aws_sdk_timestreamquery::Client) -> Done {
    let denied = write.create_database().database_name(DATABASE).send().await.expect_err("a reader");
    let denied = denied.into_service_error();
    assert!(
        denied.is_access_denied_exception() && denied.to_string().contains("CreateDatabase"),
        "{denied:?}"
    );
    let insights = QueryInsights::builder().mode(QueryInsightsMode::EnabledWithRateControl).build()?;
    for _ in 0..1_000 {
        let asked = query.query().query_string("SELECT 1").query_insights(insights.clone());
        match asked.send().await.map_err(|error| error.into_service_error()) {
            Ok(_) => {}
            Err(error) if error.is_throttling_exception() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err("a thousand queries in a row had insights".into())
}

async fn mistakes(write: &aws_sdk_timestreamwrite::Client, query: &aws_sdk_timestreamquery::Client) -> Done {
    let error = query.query().query_string("SELECT nothing").send().await.expect_err("no such column");
    let error = error.into_service_error();
    assert!(error.is_validation_exception() && error.to_string().contains("nothing"), "{error:?}");
    let error = query.query().query_string("SELECT 1 / 0").send().await.expect_err("not a number");
    assert!(error.into_service_error().is_query_execution_exception());
    let error = query.cancel_query().query_id("NONE").send().await.expect_err("no such query");
    assert!(error.into_service_error().is_validation_exception());
    let error = write.describe_database().database_name("none").send().await.expect_err("no such database");
    let error = error.into_service_error();
    assert!(error.is_resource_not_found_exception() && error.to_string().contains("none"), "{error:?}");
    let error = write.delete_database().database_name(DATABASE).send().await.expect_err("it has tables");
    assert!(error.into_service_error().is_validation_exception());
    Ok(())
}
